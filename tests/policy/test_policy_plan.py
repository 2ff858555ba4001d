"""`make plan` is check mode: whatever a run would change has a task that reports it there."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy.project import ROLES, ROOT, Task, calls, load, options, relative, walk

STACK = ROOT / "inventory/group_vars/all/stack.yml"
WIRING = ROOT / "inventory/group_vars/all/wiring.yml"
# These read, decide or call other tasks.
READS = {"assert", "debug", "fail", "set_fact", "slurp", "stat", "find", "uri", "meta"}
READS |= {"import_tasks", "include_tasks", "import_role", "include_role", "docker_image_info"}
# What check mode leaves out although it changes something: the task -> what stands for it.
STANDS_FOR_IT = {
    "docker/base: Pull it": "Bring the pulled image to today's packages",
    "docker/base: Make it on this machine": "Bring the pulled image to today's packages",
    "stack/prune: Let go of old releases, and of images that nothing needs any more": "it tidies",
    "docker/build: Bring its context to the machine": "Build the image",
    "api/main: Try what is new": "Roll it out: the same containers",
    "certs/certificate: Keep the gateway on a certificate that works": "Sign or install one",
    "api/main: Start all at once where none runs yet": "Roll it out: the same containers",
    "api/replica: Set the one before aside": "Run the replica's container",
    "api/roll: Record the release": "Run the replica's container",
    "nginx/live: Have a stand-in for a gateway that is replaced": "it is gone after the run",
    "nginx/run: Send the stand-in home": "it is gone after the run",
    "nginx/run: Remove old configurations": "it tidies",
    "host/files: Have the services read theirs": "Write them, remove what is switched off",
}
# Variables that say how a run goes about it, not what it leaves on the machine.
HOW = {
    "api_gateway_port": "a roll-out asks there",
    "api_gateway_address": "a roll-out asks there",
    "api_release": "a rollback",
    "monitoring_archive_path": "a backup",
    "api_healthy_timeout": "how long a roll-out waits",
    "docker_base_source": "where a base image comes from",
    "stack_ca_bundle": "how an image is built",
    "docker_min_disk_mb": "the preflight",
    "docker_min_memory_mb": "the preflight",
    "stack_lab": "the preflight",
    "stack_accepted_version": "the preflight",
}


@cache
def run_files() -> tuple[Path, ...]:
    """Return the task files that site.yml runs after the preflight."""
    found: list[Path] = []

    def add(role: str, name: str) -> None:
        path = ROOT / "roles" / role / "tasks" / name
        if path in found or not path.is_file():
            return
        found.append(path)
        for task in walk(load(path)):
            for key, value in task.items():
                module = key.rpartition(".")[2]
                if module in ("import_tasks", "include_tasks"):
                    add(role, value if isinstance(value, str) else value["file"])
                elif module in ("import_role", "include_role"):
                    add(value["name"], f"{value.get('tasks_from', 'main')}.yml")

    for role in ROLES:
        add(role, "main.yml")
    add("stack", "prune.yml")
    return tuple(path for path in found if path.stem not in ("preflight", "verify"))


def tasks() -> list[tuple[str, Task]]:
    """Return every task of a run, by `role/file: name`."""
    return [
        (f"{path.parents[1].name}/{path.stem}: {str(task.get('name')).rpartition(' | ')[2]}", task)
        for path in run_files()
        for task in walk(load(path))
        if "block" not in task
    ]


def module(task: Task) -> str:
    return next((key.rpartition(".")[2] for key in task if "." in key), "build_stages")


def left_out(task: Task) -> bool:
    """Tell whether check mode leaves the task out, whatever else holds."""
    clauses = task.get("when") or []
    text = " and ".join(map(str, clauses if isinstance(clauses, list) else [clauses]))
    return re.search(r"not ansible_check_mode(?! or)(?! and \w+ is changed\))", text) is not None


LEFT_OUT = {place: task for place, task in tasks() if left_out(task)}
TELLING = [
    task
    for place, task in tasks()
    if module(task) not in READS and task.get("changed_when") is not False and place not in LEFT_OUT
]


@pytest.mark.parametrize("place", LEFT_OUT)
def test_what_check_mode_leaves_out_changes_nothing_or_has_a_task_that_reports(place: str) -> None:
    task = LEFT_OUT[place]
    included = module(task) in ("include_tasks", "import_tasks") and place not in STANDS_FOR_IT
    reads = (module(task) in READS and not included) or task.get("changed_when") is False
    verify = str(task.get("ansible.builtin.import_tasks")) == "verify.yml"
    assert reads or verify or place in STANDS_FOR_IT


@pytest.mark.parametrize("place", STANDS_FOR_IT)
def test_every_exception_is_one(place: str) -> None:
    assert place in LEFT_OUT


# Else check mode fails for an image that is not built or a network that is not there.
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(found, id=place)
        for place, task in tasks()
        if (found := calls(task, "docker_container")) and "image" in found
    ],
)
def test_a_container_is_compared_without_image_and_network(arguments: dict[str, Any]) -> None:
    assert arguments["pull"] == "{{ __stack_pull }}"
    assert "__stack_can_join" in str(arguments.get("networks"))


# ---- every public variable ----------------------------------------------------------------------


def words(text: str, role: Path | None = None) -> set[str]:
    """Return the names in a text, and those in the templates that it names."""
    found = set(re.findall(r"\b_{0,2}[a-z]+_\w+", text))
    for path in role.rglob("templates/**/*.j2") if role else []:
        # The gateway's are named by their folder.
        if path.name in text or (
            re.search(r"nginx/\\+1\.j2", text) and path.parent.name == "nginx"
        ):
            found |= words(path.read_text())
    return found


@cache
def made_of() -> dict[str, set[str]]:
    """Return variable -> the names that its value is made of."""
    found: dict[str, set[str]] = {}

    def take(name: str, value: object, role: Path | None) -> None:
        found.setdefault(name, set()).update(words(yaml.safe_dump(value, width=10_000), role))

    for path in (STACK, WIRING):
        for name, value in load(path).items():
            take(name, value, None)
    for role in (ROOT / "roles" / name for name in ROLES):
        for path in [*role.glob("vars/main.yml"), *role.glob("defaults/main.yml")]:
            for name, value in load(path).items():
                take(name, value, role)
    for path in run_files():
        role = path.parents[1]
        for task in walk(load(path)):
            given = (task.get("vars") or {}) | (calls(task, "set_fact") or {})
            for name, value in given.items():
                take(name, value, role)
            loop_var = (task.get("loop_control") or {}).get("loop_var")
            if loop_var:
                take(f"{loop_var}_", task["loop"], role)
    return found


@cache
def visible() -> frozenset[str]:
    """Return every name that a task which reports is made of."""
    found: set[str] = set()
    for path in run_files():
        for task in walk(load(path)):
            if task in TELLING:
                text = yaml.safe_dump(task, width=10_000)
                loops = {f"{name}_" for name in re.findall(r"\b(service|replica|exporter)\.", text)}
                found |= words(text, path.parents[1]) | loops
    while more := set().union(*(made_of().get(name, set()) for name in found)) - found:
        found |= more
    return frozenset(found)


def public() -> list[str]:
    shared = [name for name in load(STACK) if not name.startswith("__")]
    return sorted({*shared, *(name for role in ROLES for name in options(role))})


@pytest.mark.parametrize("name", public())
def test_what_a_public_variable_changes_is_seen_in_check_mode(name: str) -> None:
    assert (name in visible()) != (name in HOW)


def test_the_plan_is_one_program() -> None:
    # No second statement of what a run would do.
    assert not [relative(path) for path in ROOT.glob("roles/*/tasks/plan.yml")]
