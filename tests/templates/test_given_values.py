"""Every public variable, given in any way, reaches the roles in its type, or ends the run.

Each test runs Ansible itself on a playbook of one task, with the project's plugins and settings.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import render
from plugins.filter.typed import specs

ROOT = render.ROOT
Values = dict[str, Any]
See = Callable[..., Values]

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "{{ dict(names | zip(query('ansible.builtin.vars', *names))) | to_json }}"
        dest: "{{ seen }}"
        mode: "0600"
"""
HOST = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
# Neither a default nor another type in disguise.
SAMPLES: Values = {"bool": False, "int": 7, "float": 0.25, "str": "some text", "dict": {"to": "a"}}


def sample(spec: Values) -> Any:
    """Return a value of the spec's type."""
    if "choices" in spec:
        return spec["choices"][-1]
    if spec["type"] == "list":
        elements = spec["elements"]
        one = sample({**spec, "type": elements})
        return [one] if elements == "dict" else [one, f"{one}7" if elements == "str" else 8]
    if spec["type"] == "dict" and "options" in spec:
        return {key: sample(part) for key, part in spec["options"].items()}
    return SAMPLES["str" if spec["type"] == "path" else spec["type"]]


def as_text(value: Any) -> str:
    """Write the value as people do behind `name=`."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not isinstance(value[0], dict):
        return ",".join(map(as_text, value))
    return json.dumps(value)


def text_inside(value: Any) -> Any:
    """Return the value with text in every leaf, as quoted YAML has it."""
    if isinstance(value, list):
        return [text_inside(part) for part in value]
    if isinstance(value, dict):
        return {key: text_inside(part) for key, part in value.items()}
    return as_text(value)


def play(playbook: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ansible", "playbook", str(playbook), *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def see(tmp_path: Path) -> See:
    """Run the one task with the given arguments; return the named variables as a task sees them."""

    def run(names: list[str], *arguments: str, inventory: str = "") -> Values:
        (tmp_path / "play.yml").write_text(PLAY)
        hosts = tmp_path / "hosts"
        hosts.write_text(inventory or yaml.safe_dump({"all": {"hosts": {"here": HOST}}}))
        (tmp_path / "names.json").write_text(
            json.dumps({"names": names, "seen": str(tmp_path / "seen")})
        )
        done = play(
            tmp_path / "play.yml", "-i", str(hosts), "-e", f"@{tmp_path}/names.json", *arguments
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found: Values = json.loads((tmp_path / "seen").read_text())
        return found

    return run


EXPECTED = {name: sample(spec) for name, spec in specs().items()}


def words(given: Values) -> list[str]:
    """Return the arguments `-e name=value`, with quotes where a shell's user writes them."""
    found = []
    for name, value in given.items():
        text = as_text(value)
        found += ["-e", f"{name}='{text}'" if {" ", '"'} & set(text) else f"{name}={text}"]
    return found


def test_every_public_variable_as_text(see: See) -> None:
    assert see(list(EXPECTED), *words(EXPECTED)) == EXPECTED


def test_every_public_variable_as_json(see: See) -> None:
    assert see(list(EXPECTED), "-e", json.dumps(EXPECTED)) == EXPECTED


def test_every_public_variable_as_text_in_json(see: See) -> None:
    given = {name: as_text(value) for name, value in EXPECTED.items()}
    assert see(list(EXPECTED), "-e", json.dumps(given)) == EXPECTED


def test_every_public_variable_from_a_file_whose_leaves_are_text(see: See, tmp_path: Path) -> None:
    file = tmp_path / "values.yml"
    file.write_text(yaml.safe_dump(text_inside(EXPECTED)))
    assert see(list(EXPECTED), "-e", f"@{file}") == EXPECTED


def test_every_public_variable_from_an_ini_inventory(see: See) -> None:
    lines = "\n".join(f"{name}={as_text(value)}" for name, value in EXPECTED.items())
    host = " ".join(f"{name}={shlex.quote(value)}" for name, value in HOST.items())
    assert see(list(EXPECTED), inventory=f"[all]\nhere {host}\n[all:vars]\n{lines}\n") == EXPECTED


def test_every_public_variable_from_host_vars(see: See, tmp_path: Path) -> None:
    file = tmp_path / "host_vars/here.yml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump({name: as_text(value) for name, value in EXPECTED.items()}))
    assert see(list(EXPECTED)) == EXPECTED


@pytest.mark.parametrize("place", ["command line", "inventory"])
def test_every_public_variable_from_a_template(see: See, place: str) -> None:
    given = {f"source_{name}": as_text(value) for name, value in EXPECTED.items()}
    given |= {name: f"{{{{ source_{name} }}}}" for name in EXPECTED}
    if place == "inventory":
        inventory = yaml.safe_dump({"all": {"hosts": {"here": HOST}, "vars": given}})
        assert see(list(EXPECTED), inventory=inventory) == EXPECTED
    else:
        assert see(list(EXPECTED), "-e", json.dumps(given)) == EXPECTED


def test_text_of_a_vault_is_decrypted_and_gets_its_type(see: See, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a made-up key")

    def vault(text: str) -> str:
        command = [sys.executable, "-m", "ansible", "vault", "encrypt_string", text]
        command += ["--vault-password-file", str(key)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.rstrip()

    file = tmp_path / "values.yml"
    file.write_text(
        f"stack_https_port: {vault('8443')}\n"
        f"nginx_users: [{{name: a, password: '{{{{ secret }}}}'}}]\n"
        f"secret: {vault('123456789012')}\n"
    )
    seen = see(
        ["stack_https_port", "nginx_users"], "--vault-password-file", str(key), "-e", f"@{file}"
    )
    assert seen == {
        "stack_https_port": 8443,
        "nginx_users": [{"name": "a", "password": "123456789012"}],
    }


# ---- what is refused --------------------------------------------------------------------------

WRONG: Values = {"bool": "maybe", "int": "08", "float": "1e3", "list": ",", "dict": "{"}


@pytest.mark.parametrize("given", [None, True, WRONG], ids=["null", "true", "text"])
def test_every_variable_refuses_what_is_not_of_its_type(given: Any, tmp_path: Path) -> None:
    names = [
        name
        for name, spec in specs().items()
        if (given is None)
        or (given is WRONG and spec["type"] in WRONG)
        # Where a boolean is meant, and where it is one of the choices.
        or (
            given is True
            and spec["type"] not in ("bool", "list")
            and "true" not in spec.get("choices", ())
        )
    ]
    values = {n: WRONG[specs()[n]["type"]] if given is WRONG else given for n in names}
    (tmp_path / "play.yml").write_text(PLAY)
    done = play(tmp_path / "play.yml", "-i", "machine.invalid,", "-e", json.dumps(values))
    assert done.returncode == 1
    assert "TASK" not in done.stdout
    sentences = [line for line in done.stderr.splitlines() if line.startswith("[ERROR]: ")]
    assert [sentence.split()[1] for sentence in sentences] == sorted(names)
    for name, sentence in zip(sorted(names), sentences, strict=True):
        assert re.search(rf"has to be .*, not .*\. .*-e '{{\"{name}\": ", sentence)


# change.yml is the play of the others.
@pytest.mark.parametrize(
    "path",
    sorted(set(ROOT.glob("playbooks/*.yml")) - {ROOT / "playbooks/change.yml"}),
    ids=lambda path: path.stem,
)
def test_every_playbook_refuses_before_its_first_task(path: Path) -> None:
    # A machine that is not there, in case that it is not refused.
    done = play(path, "-i", "machine.invalid,", "-e", "stack_https_port=abc")
    assert done.returncode == 1
    assert "TASK" not in done.stdout
    assert "stack_https_port has to be a port" in done.stderr


def test_wrong_value_of_a_host_names_the_host(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("here ansible_host=machine.invalid host_swap_mb=lots\n")
    (tmp_path / "play.yml").write_text(PLAY)
    done = play(tmp_path / "play.yml", "-i", str(tmp_path / "hosts"))
    assert done.returncode == 1
    assert "TASK" not in done.stdout
    assert 'Host here: host_swap_mb has to be a whole number, 0 or more, not "lots".' in done.stderr


def test_wrong_result_of_a_template_fails_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(yaml.safe_dump({"all": {"hosts": {"here": HOST}}}))
    (tmp_path / "play.yml").write_text(PLAY)
    given = {"source": "maybe", "stack_lab": "{{ source }}", "names": ["stack_lab"], "seen": "x"}
    done = play(
        tmp_path / "play.yml", "-i", str(tmp_path / "hosts"), "-e", json.dumps(given), "--check"
    )
    assert done.returncode == 2
    assert 'stack_lab has to be a boolean (true or false), not "maybe"' in done.stdout + done.stderr


def test_run_without_the_conversion_changes_nothing(tmp_path: Path) -> None:
    lock = yaml.safe_load((ROOT / "roles/stack/tasks/lock.yml").read_text())
    assert lock[0]["ansible.builtin.import_tasks"] == "typed.yml"
    (tmp_path / "hosts").write_text(yaml.safe_dump({"all": {"hosts": {"here": HOST}}}))
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.import_role: {name: stack, tasks_from: typed}\n"
    )
    # As the shared variables have it: the converter sets it to true.
    hosts = ["-i", str(tmp_path / "hosts"), "-i", str(ROOT / "inventory/localhost.yml")]
    hosts += ["--limit", "here"]
    assert play(tmp_path / "play.yml", *hosts).returncode == 0
    # Where a user has callbacks of another program.
    done = play(tmp_path / "play.yml", *hosts, ANSIBLE_CALLBACK_PLUGINS=str(tmp_path))
    assert done.returncode == 2
    assert "unset ANSIBLE_CALLBACK_PLUGINS" in " ".join(done.stdout.split())


def test_examples_of_the_docs_say_the_same_twice(see: See) -> None:
    table = (ROOT / "docs/variables.md").read_text().split("| type | as text |")[1].split("\n\n")[0]
    rows = [re.findall(r"`(-e .*?)`", row) for row in table.splitlines()[2:]]
    as_json = [word for row in rows for word in shlex.split(row[-1])]
    given = {name for text in as_json[1::2] for name in json.loads(text)}
    assert len(given) >= 5
    assert see(sorted(given), *as_json) == see(
        sorted(given),
        *as_json,
        *[word for row in rows for part in row[:-1] for word in shlex.split(part)],
    )


# ---- what it was for --------------------------------------------------------------------------


def given_as_text(see: See, **values: str) -> Values:
    return see(list(values), *words(values))


def test_live_restore_is_a_boolean_in_the_engines_configuration(see: See) -> None:
    tasks = yaml.safe_load((ROOT / "roles/docker/tasks/live_restore.yml").read_text())
    (write,) = [t for t in tasks[0]["block"] if "ansible.builtin.copy" in t]
    expression = write["ansible.builtin.copy"]["content"].split("{{")[1].split("}}")[0]
    seen = given_as_text(see, docker_live_restore="false")
    daemon = render.resolve("docker", expression, __docker_daemon_now={"debug": True}, **seen)
    assert json.loads(daemon) == {"debug": True, "live-restore": False}


def test_open_port_is_that_port_in_the_firewall(see: See) -> None:
    seen = given_as_text(see, docker_open_ports="8080", stack_dedicated="yes")
    rules = render.render("docker", "firewall.nft.j2", **seen)
    assert "tcp dport { 22, 80, 443, 8080 } accept" in rules


@pytest.mark.parametrize(
    ("switch", "file"),
    [
        ("host_ssh_keys_only", "/etc/ssh/sshd_config.d/10-emotions.conf"),
        ("host_security_updates", "/etc/apt/apt.conf.d/52emotions"),
        ("host_login_message", "/etc/update-motd.d/50-emotions"),
    ],
)
def test_switch_of_the_machine_is_obeyed(see: See, switch: str, file: str) -> None:
    for word, wanted in {"false": False, "yes": True}.items():
        seen = given_as_text(see, stack_dedicated="true", **{switch: word})
        found = render.resolve(
            "host", "__host_files", **seen, __host_found=["sshd", "key"], __host_survey={}
        )
        states = {each["path"]: each.get("state") for each in found}
        assert states[file] == ("file" if wanted else "absent")


def test_healing_is_off_in_the_watch(see: See) -> None:
    seen = given_as_text(see, host_self_healing="no")
    assert render.render("host", "watch.json.j2", **seen) == '{"self_healing": false}\n'


def test_host_name_is_a_name_of_the_gateway(see: See) -> None:
    seen = given_as_text(see, stack_hostnames="shop.example")
    assert render.resolve("nginx", "nginx_server_names", **seen)[0] == "shop.example"
