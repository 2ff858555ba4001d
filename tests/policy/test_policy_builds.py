"""Image builds and packages: by the network's proxies, on every engine, no model left over."""

import re
from typing import Any

import pytest

import render
from policy.project import ROOT, Task, calls, load, relative, role_tasks, task_files, walk

PROXY = "http://proxy.example:3128"
LOOPBACK = "http://127.0.0.1:3128"
# With what the blocks around a task give it.
INHERITED: list[tuple[str, Task]] = []
for path in task_files():
    for block in load(path) or []:
        for task in walk([block]):
            kept = {"environment": block["environment"]} if "environment" in block else {}
            INHERITED.append((f"{relative(path)}: {task.get('name')}", kept | task))


def proxies(**given: Any) -> dict[str, str]:
    none = {"stack_http_proxy": "", "stack_https_proxy": "", "stack_no_proxy": ""}
    found: dict[str, str] = render.resolve("docker", "__stack_proxies", **(none | given))
    return found


def test_a_proxy_is_given_in_both_spellings_and_what_is_empty_is_not() -> None:
    assert proxies() == {}
    assert proxies(stack_http_proxy=PROXY) == {"http_proxy": PROXY, "HTTP_PROXY": PROXY}
    given = proxies(stack_https_proxy=PROXY, stack_no_proxy="a,b")
    assert given.keys() == {"https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"}


@pytest.mark.parametrize(("connection", "kept"), [("local", True), ("ssh", False)])
def test_a_proxy_on_the_controllers_loopback_is_of_no_use_elsewhere(
    connection: str, kept: bool
) -> None:
    given = proxies(stack_http_proxy=LOOPBACK, ansible_connection=connection)
    assert ("http_proxy" in given) is kept


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "no_proxy"])
@pytest.mark.parametrize("spelling", [str.lower, str.upper])
def test_the_environment_is_the_default(
    monkeypatch: pytest.MonkeyPatch, name: str, spelling: Any
) -> None:
    for known in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(known, raising=False)
        monkeypatch.delenv(known.upper(), raising=False)
    monkeypatch.setenv(spelling(name), PROXY)
    # For plain HTTP the spelling in capitals may be a client's header (CGI): nobody reads it.
    expected = "" if spelling(name) == "HTTP_PROXY" else PROXY
    assert render.resolve("docker", f"stack_{name}") == expected


BUILDS = [
    pytest.param(task, id=place)
    for place, task in role_tasks()
    if re.search(r"docker['\", ]+build\b", str(calls(task, "command") or ""))
]
IMAGES = [
    pytest.param(arguments["build"], id=place)
    for place, task in role_tasks()
    if (arguments := calls(task, "docker_image")) and "build" in arguments
]
APT = [pytest.param(task, id=place) for place, task in INHERITED if calls(task, "apt")]


@pytest.mark.parametrize("task", BUILDS)
def test_a_build_by_the_client_needs_no_buildx(task: Task) -> None:
    assert "'DOCKER_BUILDKIT': '0'" in task["environment"]
    # By name alone: a value may hold a password, and a command line is no place for it.
    assert "__stack_proxies" in task["environment"]
    assert "__stack_proxies.keys()" in str(calls(task, "command"))


@pytest.mark.parametrize("build", IMAGES)
def test_a_build_by_the_module_takes_the_proxies(build: dict[str, Any]) -> None:
    assert "__stack_proxies" in build["args"]


def test_there_are_builds_to_look_at() -> None:
    assert (len(BUILDS), len(IMAGES)) == (1, 1)
    assert len(APT) >= 7


@pytest.mark.parametrize("task", APT)
def test_packages_come_by_the_proxies(task: Task) -> None:
    assert "__stack_proxies" in str(task.get("environment"))


def test_proxies_are_no_part_of_an_image() -> None:
    # An ARG makes the predefined ones part of the history and of the cache's key.
    files = [*ROOT.glob("roles/**/Dockerfile"), *ROOT.glob("src/**/Dockerfile")]
    assert len(files) >= 4
    for path in files:
        assert not re.search(r"^(ARG|ENV)\s.*proxy", path.read_text(), re.I | re.M), path
    image = (ROOT / "roles/docker/tasks/image.yml").read_text()
    assert "prox" not in image


def test_what_holds_the_model_is_labelled_before_it_comes() -> None:
    lines = (ROOT / "src/api/Dockerfile").read_text().splitlines()
    label = lines.index("LABEL stack.build.model=true")
    copies = [n for n, line in enumerate(lines) if re.match(r"COPY (model|api) ", line)]
    installs = [n for n, line in enumerate(lines) if "pip install" in line]
    assert copies
    assert installs
    assert max(installs) < label < min(copies)
