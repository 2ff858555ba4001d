"""What make gives to Ansible: its arguments, its environment, the values that a person typed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import run_ansible

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  \n ", []),
        ("-e a=1 --check", ["-e", "a=1", "--check"]),
        ("-e 'a=1 b=2'", ["-e", "a=1 b=2"]),
        ('-e "a=1 b=2"  --diff', ["-e", "a=1 b=2", "--diff"]),
        ("-e a='1 2'", ["-e", "a=1 2"]),
        (r"-e a=1\ 2", ["-e", "a=1 2"]),
        ("-e a=ä#1 -v", ["-e", "a=ä#1", "-v"]),
        ("-e ''", ["-e", ""]),
        ('-e {"a": "x"}', ["-e", '{"a": "x"}']),
        ('-e {"a": "it\'s {1} \\"2\\""} -v', ["-e", '{"a": "it\'s {1} \\"2\\""}', "-v"]),
        ('--extra-vars={"a": [1, 2]} -v', ['--extra-vars={"a": [1, 2]}', "-v"]),
        ('-e{"a": 1}', ['-e{"a": 1}']),
        ("""-e '{"a": "x y"}'""", ["-e", '{"a": "x y"}']),
        ("-e @vars.yml --tags a,b", ["-e", "@vars.yml", "--tags", "a,b"]),
        # No JSON: the shell's words, and Ansible says what it makes of them.
        ("-e {a: 1}", ["-e", "{a:", "1}"]),
    ],
)
def test_args_are_split_as_a_shell_does_but_for_json(text: str, words: list[str]) -> None:
    assert run_ansible.split(text) == words


def test_args_without_an_end_of_quotation_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ARGS=-e 'a=1: no closing quotation"):
        run_ansible.command({"ARGS": "-e 'a=1"}, ["playbook", "x.yml"])


DROPPED = """
    ANSIBLE_CONFIG ANSIBLE_ROLES_PATH ANSIBLE_LIBRARY ANSIBLE_COLLECTIONS_PATH
    ANSIBLE_FILTER_PLUGINS ANSIBLE_BECOME_PLUGINS
    ANSIBLE_STDOUT_CALLBACK ANSIBLE_CALLBACKS_ENABLED ANSIBLE_FORCE_COLOR ANSIBLE_INVENTORY
    ANSIBLE_INVENTORY_ENABLED ANSIBLE_CHECK_MODE_MARKERS ANSIBLE_RUN_TAGS ANSIBLE_SKIP_TAGS
    ANSIBLE_STRATEGY ANSIBLE_PYTHON_INTERPRETER ANSIBLE_TRANSPORT ANSIBLE_GATHERING
    ANSIBLE_DISPLAY_OK_HOSTS ANSIBLE_ANY_ERRORS_FATAL ANSIBLE_HASH_BEHAVIOUR ANSIBLE_JINJA2_NATIVE
    PYTHONHOME PYTHONPATH PYTHONOPTIMIZE PYTHONINSPECT PYTHONSTARTUP LC_TIME LANGUAGE
    DOCKER_HOST DOCKER_CONTEXT DOCKER_BUILDKIT DOCKER_DEFAULT_PLATFORM COMPOSE_PROJECT_NAME
""".split()
LET_THROUGH = """
    ANSIBLE_HOST_KEY_CHECKING ANSIBLE_PRIVATE_KEY_FILE ANSIBLE_REMOTE_USER ANSIBLE_REMOTE_TEMP
    ANSIBLE_VAULT_PASSWORD_FILE ANSIBLE_BECOME_PASSWORD_FILE ANSIBLE_SSH_ARGS ANSIBLE_NOCOLOR
    ANSIBLE_VERBOSITY ANSIBLE_LOG_PATH ANSIBLE_TIMEOUT DOCKER_CONFIG PATH HOME SSH_AUTH_SOCK
    STACK_HOST STACK_USER https_proxy
""".split()


@pytest.mark.parametrize("name", DROPPED)
def test_what_changes_a_run_is_not_taken_from_the_environment(name: str) -> None:
    assert run_ansible.environment({name: "the user's"}).get(name) != "the user's"


@pytest.mark.parametrize("name", LET_THROUGH)
def test_how_to_reach_a_machine_is_let_through(name: str) -> None:
    assert run_ansible.environment({name: "the user's"})[name] == "the user's"


def test_every_variable_that_ansible_reads_for_what_a_run_is_is_dropped() -> None:
    """By Ansible's own list of its settings: a new one is dropped until it is let through here."""
    done = subprocess.run(
        (sys.executable, "-m", "ansible", "config", "list", "--format", "json"),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = {e["name"] for s in json.loads(done.stdout).values() for e in s.get("env", [])}
    assert len(names) > 150
    kept = run_ansible.environment({name: "the user's" for name in names})
    through = {name for name, value in kept.items() if value == "the user's"}
    looks = r"PATH|PLUGINS|LIBRARY|CALLBACK|INVENTORY|TAGS|CHECK|STRATEGY|COLOR_|TEMPLATE|CACHE"
    suspect = {name for name in through if re.search(looks, name)}
    assert suspect == {"ANSIBLE_LOG_PATH", "ANSIBLE_HOST_KEY_CHECKING"}


@pytest.mark.parametrize("given", ["C", "POSIX", "xx_XX.UTF-8", "de_DE.ISO-8859-1", ""])
def test_the_locale_is_one_that_ansible_starts_in(given: str) -> None:
    found = run_ansible.environment({"LC_ALL": given, "LANG": given, "LC_CTYPE": given})
    assert found["LC_ALL"] == found["LANG"]
    assert "LC_CTYPE" not in found
    code = "import locale; locale.setlocale(locale.LC_ALL, ''); print(locale.getlocale()[1])"
    done = subprocess.run(
        (sys.executable, "-c", code), env=found, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().lower() in ("utf-8", "utf8")


def test_the_configuration_is_the_checkouts_own_by_its_path() -> None:
    found = run_ansible.environment({"ANSIBLE_CONFIG": "/etc/ansible/ansible.cfg"})
    assert found["ANSIBLE_CONFIG"] == str(ROOT / "ansible.cfg")


def test_a_callback_that_programs_read_has_standard_output_for_itself() -> None:
    found = run_ansible.environment({"ANSIBLE_STDOUT_CALLBACK": "json"}, "ask")
    assert found["ANSIBLE_STDOUT_CALLBACK"] == "ask"
    assert found["ANSIBLE_VERBOSE_TO_STDERR"] == "1"


@pytest.mark.parametrize("value", ["a b", "it's", 'a "b"', "a=b", "ä", "a\nb", "$HOME", "#1"])
def test_a_typed_value_arrives_as_it_was_typed(value: str) -> None:
    options, given = run_ansible.variables([("text", f"name={value}"), ("list", f"all={value}")])
    assert options == "-e"
    assert json.loads(given) == {"name": value, "all": [value]}


def test_entries_of_a_list_add_up() -> None:
    _, given = run_ansible.variables([("list", "ask=emotions"), ("list", "ask=status")])
    assert json.loads(given) == {"ask": ["emotions", "status"]}


def test_a_path_is_absolute_and_knows_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a b")
    options = [
        ("path", "one=~/x y"),
        ("path", "two=a b/c"),
        ("path", "three=/d"),
        ("path", "four="),
    ]
    _, given = run_ansible.variables(options)
    assert json.loads(given) == {
        "one": "/home/a b/x y", "two": f"{os.getcwd()}/a b/c", "three": "/d", "four": "",
    }  # fmt: skip


def test_an_option_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="--path x: write NAME=VALUE"):
        run_ansible.variables([("path", "x")])


def test_makes_own_words_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of two extra variables counts."""
    monkeypatch.setattr(run_ansible, "sudo_wants_a_password", lambda: True)
    given = {"INVENTORY": "inventory/vm.yml", "ARGS": "-e file=theirs"}
    arguments = ["--callback", "ask", "--text", "file=ours", "playbook", "x.yml", "--check"]
    line, callback = run_ansible.command(given, arguments)
    assert callback == "ask"
    assert line[0] == sys.executable
    assert Path(line[1]).name == "ansible-playbook"
    assert line[2:] == [
        "-i", "inventory/vm.yml", "-e", "file=theirs", "-e", '{"file": "ours"}', "x.yml", "--check",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "options", "asks"),
    [
        ({}, [], True),
        ({"INVENTORY": "inventory/localhost.yml"}, [], True),
        ({"INVENTORY": "inventory/vm.yml"}, [], False),
        ({}, ["--no-become"], False),
    ],
)
def test_a_password_is_asked_for_where_this_machines_sudo_wants_one(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], options: list[str], asks: bool
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(run_ansible, "sudo_wants_a_password", lambda: True)
    line, _ = run_ansible.command(given, [*options, "playbook", "x.yml"])
    assert ("--ask-become-pass" in line) is asks


def test_it_becomes_ansible_by_this_very_python(tmp_path: Path) -> None:
    """The lock of a stack knows a run by that name; a path may hold what a #! line cannot."""
    folder = tmp_path / "it's a föld\"er $HOME"
    folder.mkdir()
    (folder / "bin").mkdir()
    python = folder / "bin/python"
    python.symlink_to(sys.executable)
    (folder / "bin/ansible-playbook").write_text("import sys; print(sys.orig_argv[1:])")
    done = subprocess.run(
        (python, ROOT / "tools/run_ansible.py", "playbook", "x.yml"),
        env=os.environ | {"INVENTORY": "a b.yml", "ARGS": "-e 'c=1 d'"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = [str(folder / "bin/ansible-playbook"), "-i", "a b.yml", "-e", "c=1 d", "x.yml"]
    assert done.stdout.strip() == str(words)
