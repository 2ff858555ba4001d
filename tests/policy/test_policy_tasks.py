"""Tasks: short files, names that lead to them, and nothing that hides a failure."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policy.project import (
    ROLES,
    ROOT,
    Task,
    calls,
    load,
    project_files,
    relative,
    role_tasks,
    task_files,
    walk,
    without_comments,
)

IMPORTS = {"import_tasks", "include_tasks", "import_role", "include_role"}
MAINS = [path for path in task_files() if path.name == "main.yml"]
OTHERS = [path for path in task_files() if path.name != "main.yml"]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
STEPS = sorted((ROOT / "playbooks/steps").glob("*.yml"))
# Modules of our own have no collection's name.
OWN_MODULES = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
SECRET = re.compile(r"password|passwd|secret(?!s_dir)|salt|key_path", re.IGNORECASE)

# A pause of a module, of a shell or of Python. Less than a second, as a number, is the pace of a
# loop that asks.
PAUSE = re.compile(
    r"""\bpause\s*:|\bwait_for:\s*\{?timeout|(?<!def )\bsleep\((?!0[.)])"""
    r"""|(?:^|[;&|({:]|\bdo|\bthen|['"](?=s))\s*sleep\s+(?!0\.)\S"""
)

RUNS = re.compile(r"^.*\bdocker['\", ]+run\b.*$", re.MULTILINE)

each_role = pytest.mark.parametrize("role", ROLES)
each_main = pytest.mark.parametrize("path", MAINS, ids=relative)
each_other = pytest.mark.parametrize("path", OTHERS, ids=relative)


# ---- files --------------------------------------------------------------------------------------


@each_role
@pytest.mark.parametrize("part", ["defaults", "meta", "preflight", "uninstall", "verify"])
def test_role_has(role: str, part: str) -> None:
    if role == "stack" and part in ("defaults", "verify"):
        pytest.skip("the inventory has the shared defaults; the other roles verify")
    folder = ROOT / "roles" / role
    files = {
        "defaults": ["defaults/main.yml"],
        "meta": ["meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml"],
    }
    assert all((folder / name).is_file() for name in files.get(part, [f"tasks/{part}.yml"]))


@each_main
def test_main_is_a_table_of_contents(path: Path) -> None:
    lines = [line for line in without_comments(path.read_text()).splitlines() if line.strip()]
    assert len(lines) <= 40
    for task in walk(load(path)):
        modules = {key.rpartition(".")[2] for key in task if "." in key}
        assert modules <= IMPORTS, f"{task.get('name')}: {modules}"
        assert modules, f"{task.get('name')} imports nothing"


@each_other
def test_task_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 100


@each_other
def test_task_file_is_used(path: Path) -> None:
    texts = [p.read_text() for p in [*task_files(), *PLAYBOOKS, *STEPS]]
    used = rf"tasks: {re.escape(path.name)}\b|tasks_from: {re.escape(path.stem)}\b"
    assert any(re.search(used, text) for text in texts)


@each_role
@pytest.mark.parametrize("playbook", ["steps/site", "steps/verify", "steps/teardown"])
def test_playbook_asks_every_role(playbook: str, role: str) -> None:
    text = (ROOT / "playbooks" / f"{playbook}.yml").read_text()
    # What the shared role brings is asked through the others.
    assert re.search(rf"name: {role}\b", text) or (playbook, role) == ("steps/verify", "stack")


def test_site_is_a_list_of_roles() -> None:
    steps = load(ROOT / "playbooks/steps/site.yml")
    assert all(set(step) == {"name", "ansible.builtin.import_role", "tags"} for step in steps)
    assert [step["tags"] for step in steps if calls(step, "import_role") == {"name": "stack"}] == [
        ["always"]
    ]


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_a_playbook_that_changes_something_holds_the_lock(path: Path) -> None:
    reads = {"ask.yml", "doctor.yml", "verify.yml"}
    (play,) = load(path)
    if path.name == "change.yml":
        (whole,) = play["tasks"]
        used = [calls(task, "import_role") for task in (whole["block"][0], *whole["always"])]
        assert used == [{"name": "stack", "tasks_from": name} for name in ("lock", "unlock")]
        # Whichever tags a run is limited to.
        assert all(task["tags"] == ["always"] for task in (whole["block"][0], *whole["always"]))
    elif path.name not in reads:
        assert play["ansible.builtin.import_playbook"] == "change.yml"
        assert (ROOT / "playbooks" / play["vars"]["__stack_steps"]).is_file()


# ---- names --------------------------------------------------------------------------------------


@each_other
def test_task_names_start_with_their_file(path: Path) -> None:
    stem = path.stem.replace("_", " ").lower()
    for task in walk(load(path)):
        name = str(task.get("name", ""))
        # preflight_host.yml goes on where preflight.yml ends: its first word will do.
        head, separator, rest = name.partition(" | ")
        assert separator, name
        assert head.lower() in (stem, stem.split()[0]), name
        assert head[0].isupper(), name
        assert rest, name
        assert rest[0].isupper() or rest[0] in "{", name
        assert not rest.endswith("."), name


@each_main
def test_names_in_main_say_what_happens(path: Path) -> None:
    for task in walk(load(path)):
        assert re.fullmatch(r"[A-Z][^|]*[^.]", str(task.get("name", ""))), task


def test_modules_are_named_in_full() -> None:
    plain = {"block", "rescue", "always", "vars", "when", "name", "loop", "loop_control"}
    known = plain | OWN_MODULES
    known |= set(
        "register until retries delay changed_when failed_when check_mode no_log diff notify listen"
        " become become_user delegate_to run_once tags args environment any_errors_fatal"
        " delegate_facts throttle timeout".split()
    )
    known |= {path.stem for path in ROOT.glob("plugins/modules/*.py")}
    short = [f"{p}: {k}" for p, t in role_tasks() for k in t if "." not in k and k not in known]
    assert short == []


# ---- failures -----------------------------------------------------------------------------------


def test_every_assert_says_how_to_fix() -> None:
    for place, task in role_tasks():
        arguments = calls(task, "assert")
        assert arguments is None or len(str(arguments.get("fail_msg", ""))) > 40, place


@pytest.mark.parametrize("word", ["ignore_errors", "ignore_unreachable"])
def test_no_failure_is_ignored(word: str) -> None:
    assert [place for place, task in role_tasks() if word in task] == []


def test_nothing_claims_to_change_always() -> None:
    assert [p for p, t in role_tasks() if t.get("changed_when") in (True, "true")] == []


def test_every_command_says_when_it_changes_something() -> None:
    commands = [
        (place, task)
        for place, task in role_tasks()
        if any(calls(task, module) is not None for module in ("command", "shell", "script"))
    ]
    assert commands
    assert [place for place, task in commands if "changed_when" not in task] == []


# Each with its reason, so that this file passes, too.
PAUSES = [
    "sleep 10",  # a shell's
    "  ansible.builtin.pause: {seconds: 3}",  # a module's
    "  wait_for: {timeout: 5}",  # another module's
    "  ansible.builtin.command: sleep 10",  # a task's command
    "until ready; do sleep 1; done",  # a loop's
    'sleep "$rest"',  # a variable's
    "time.sleep(10)",  # Python's
    "time.sleep(PAUSE)",  # a constant's
]


@pytest.mark.parametrize("line", PAUSES)
def test_a_pause_is_recognised(line: str) -> None:
    assert PAUSE.search(line)


@pytest.mark.parametrize("line", ["do sleep 0.2; done", "time.sleep(0.1)", "docker run x sleep 60"])
def test_the_pace_of_a_loop_is_no_pause(line: str) -> None:
    assert not PAUSE.search(line)


def test_no_pause_without_a_reason() -> None:
    found = []
    for path in project_files():
        if path.suffix not in (".yml", ".sh", ".j2", ".py"):
            continue
        before = ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            # The reason stands behind it or on the line above.
            told = " # " in line or before.lstrip().startswith("#")
            if PAUSE.search(line) and not told:
                found.append(f"{relative(path)}:{number}")
            before = line
    assert found == []


def test_every_wait_ends() -> None:
    for place, task in role_tasks():
        if "until" in task:
            assert "retries" in task, place
            assert "delay" in task, place


# ---- secrets ------------------------------------------------------------------------------------


def touches_secret(task: Task) -> bool:
    """Tell whether a secret's value passes through the task itself, not what it includes."""
    parts = {
        key: value
        for key, value in task.items()
        if key not in ("name", "block", "rescue", "always", "when", "loop_control", "notify")
    }
    modules = {key.rpartition(".")[2] for key in parts if "." in key or key in OWN_MODULES}
    # These hold paths, or show a judgement; never a value.
    if modules & {
        "file",
        "files",
        "find",
        "stat",
        "assert",
        "debug",
        "fail",
        "docker_container",
        *IMPORTS,
    }:
        return False
    # The module itself never hands a key or a password out.
    if any(m.startswith(("x509_", "openssl_", "grafana_admin")) for m in modules):
        return False
    return bool(modules) and bool(SECRET.search(str(parts)))


def test_tasks_that_touch_secrets_say_nothing() -> None:
    found = [(place, task) for place, task in role_tasks() if touches_secret(task)]
    assert len(found) >= 3
    assert [place for place, task in found if task.get("no_log") is not True] == []


def listed_files(value: Any) -> Iterator[dict[str, Any]]:
    """Give every entry of a list for the module `files`, wherever it stands in YAML."""
    if isinstance(value, list):
        for each in value:
            yield from listed_files(each)
    elif isinstance(value, dict):
        if {"path", "content"} <= set(value):
            yield value
        for each in value.values():
            yield from listed_files(each)


def expressions(role: str, content: str) -> str:
    """Return what is filled in: the content's own words, and the expressions of its template."""
    name = re.search(r"'([\w.]+\.j2)'", content)
    template = ROOT / "roles" / role / "templates" / name[1] if name else None
    inside = re.findall(r"\{[{%].*?[%}]\}", template.read_text()) if template else []
    return " ".join([content, *inside])


FILES = [
    (role, entry)
    for role in ROLES
    for path in [
        *(ROOT / "roles" / role).glob("tasks/*.yml"),
        ROOT / "roles" / role / "vars/main.yml",
    ]
    for entry in listed_files(load(path))
]


@pytest.mark.parametrize(("role", "entry"), FILES, ids=lambda value: str(value)[:60])
def test_a_file_that_holds_a_secret_is_marked(role: str, entry: dict[str, Any]) -> None:
    holds = SECRET.search(expressions(role, entry["content"]))
    assert entry.get("secret", False) or not holds


def test_there_are_secret_files_to_look_at() -> None:
    marked = [entry for _, entry in FILES if entry.get("secret")]
    assert len(marked) >= 5


def test_tasks_that_write_secrets_show_no_difference() -> None:
    writers = ("copy", "template", "lineinfile", "blockinfile", "htpasswd")
    found = [
        place
        for place, task in role_tasks()
        if task.get("no_log") is True
        and any(calls(task, writer) is not None for writer in writers)
        and task.get("diff") is not False
    ]
    assert found == []


def test_modes_are_quoted_and_never_for_everybody() -> None:
    for place, task in role_tasks():
        for module, arguments in task.items():
            if "." in module and isinstance(arguments, dict) and "mode" in arguments:
                mode = arguments["mode"]
                assert isinstance(mode, str), place
                assert "{{" in mode or re.fullmatch(r"0[0-7]{2}[0145]", mode), place


@pytest.mark.parametrize("module", ["copy", "template"])
def test_every_written_file_has_owner_group_and_mode(module: str) -> None:
    for place, task in role_tasks():
        arguments = calls(task, module)
        # What goes into a build folder or an archive is gone after the run.
        if arguments is None or "build" in place.lower():
            continue
        assert {"owner", "group", "mode"} <= set(arguments), place


# ---- containers ---------------------------------------------------------------------------------


def test_there_is_one_way_to_run_a_container() -> None:
    # What confines them is tested on their resolved options, in tests/templates.
    runs = [
        place
        for place, task in role_tasks()
        if (calls(task, "docker_container") or {"state": "absent"}).get("state") != "absent"
    ]
    assert runs == ["roles/stack/tasks/container.yml: Container | Run each"]


def test_container_of_a_moment_does_not_pass_for_one_of_the_stack() -> None:
    # Its image has the stack's label, by which status, watch and alerts find what runs.
    files = [path for path in (ROOT / "roles").rglob("*.yml") if path.is_file()]
    runs = [line for path in files for line in RUNS.findall(path.read_text(encoding="utf-8"))]
    assert len(runs) >= 3
    assert [line for line in runs if not re.search(r"--label['\" ,]+stack=['\" ]", line)] == []


# ---- no programs in Jinja -----------------------------------------------------------------------


def test_nothing_is_computed_by_statements_in_jinja() -> None:
    files = [p for p in (ROOT / "roles").rglob("*") if p.suffix in (".yml", ".j2", ".conf", ".sh")]
    assert files
    found = {relative(p) for p in files if re.search(r"\{%-?\s*set _\s*=", p.read_text())}
    assert found == set()


def test_no_template_is_a_python_program() -> None:
    found = {
        relative(path)
        for path in (ROOT / "roles").rglob("*.j2")
        if path.name.endswith(".py.j2") or re.match(r"#!.*python", path.read_text())
    }
    assert found == set()
