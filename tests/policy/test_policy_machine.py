"""An existing machine keeps its engine and its packages."""

import os
import re
import runpy
from pathlib import Path

import pytest

import render
from policy.project import ROOT, calls, load, relative, role_tasks, without_comments

PLAYS = [
    pytest.param(play, id=f"{path.name}: {play['name']}")
    for path in sorted((ROOT / "playbooks").glob("*.yml"))
    for play in load(path)
    if "hosts" in play
]
STACK = load(ROOT / "inventory/group_vars/all/stack.yml")
# Programs on the machine that a user, a timer or a unit starts.
COMMANDS = [
    path
    for pattern in (
        "roles/*/templates/*.sh.j2",
        "src/machine/engine.py",
    )
    for path in sorted(ROOT.glob(pattern))
    if re.search(r"""["'(\s]docker["']?,? ["']?[a-z]+""", path.read_text())
]
INSTALLATIONS = [
    pytest.param(arguments, id=place)
    for place, task in role_tasks()
    if (arguments := calls(task, "apt")) is not None and arguments.get("state") != "absent"
]


# ---- the engine ---------------------------------------------------------------------------------


@pytest.mark.parametrize("play", PLAYS)
def test_every_play_speaks_to_the_machines_own_engine(play: dict[str, object]) -> None:
    assert play["environment"] == "{{ __stack_engine_environment }}"
    defaults = play["module_defaults"]
    assert isinstance(defaults, dict)
    assert defaults["group/community.docker.docker"] == "{{ __stack_engine_defaults }}"


def test_nothing_of_the_users_environment_leads_to_another_engine() -> None:
    pinned = STACK["__stack_engine_environment"]
    assert {"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"} <= set(pinned)
    survey = runpy.run_path(str(ROOT / "roles/stack/files/survey.py"))
    assert survey["ENGINE"] == {"DOCKER_HOST": pinned["DOCKER_HOST"]}
    # An empty text is no boolean for the modules, so they are given their own.
    assert {"docker_host", "tls", "validate_certs", "api_version"} <= set(
        STACK["__stack_engine_defaults"]
    )


def test_there_are_commands_to_look_at() -> None:
    assert COMMANDS


@pytest.mark.parametrize("path", COMMANDS, ids=relative)
def test_commands_on_the_machine_speak_to_its_own_engine(path: Path) -> None:
    text = path.read_text()
    assert STACK["__stack_engine_environment"]["DOCKER_HOST"].removeprefix("unix://") in text
    # And no context, certificate or version of the API from elsewhere.
    assert re.search(r"unset .*\bDOCKER_|startswith\(.DOCKER_.\)", text)


@pytest.mark.parametrize(
    ("answers", "installed", "expected"),
    [(False, True, False), (False, False, True), (True, False, False), (True, True, False)],
)
def test_an_engine_that_is_stopped_is_started_and_nothing_is_installed_over_it(
    answers: bool, installed: bool, expected: bool
) -> None:
    (condition,) = [
        task["when"]
        for _, task in role_tasks()
        if (calls(task, "apt") or {}).get("name") == "{{ __stack_engine_packages }}"
    ]
    found = {"installation": {"installed": installed}}
    known = {"__stack_engine_answers": answers, "__stack_found": found}
    assert render.resolve("docker", condition, **known) is expected


def test_the_tests_ask_the_machines_own_engine() -> None:
    address = STACK["__stack_engine_environment"]["DOCKER_HOST"]
    named = {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}
    assert named == {"DOCKER_HOST": address}
    script = (ROOT / "tests/run_lifecycle.sh").read_text()
    assert 'unset "${!DOCKER_@}"' in script
    assert f"export DOCKER_HOST={address}" in script


# ---- packages -----------------------------------------------------------------------------------


def test_there_are_installations_to_look_at() -> None:
    assert len(INSTALLATIONS) >= 6


@pytest.mark.parametrize("arguments", INSTALLATIONS)
def test_no_installation_removes_a_package(arguments: dict[str, object]) -> None:
    assert arguments.get("fail_on_autoremove") is True
    assert not {"autoremove", "purge", "force", "allow_downgrade"} & set(arguments)
    # aptitude, which an upgrade prefers, knows no such switch.
    assert "upgrade" not in arguments or arguments.get("force_apt_get") is True


def test_packages_are_installed_by_the_module_alone() -> None:
    by_hand = re.compile(r"\b(apt-get|apt|aptitude|dpkg)\b.*\b(install|remove|purge|autoremove)\b")
    found = [
        f"{place}: {match[0]}"
        for place, task in role_tasks()
        for module in ("command", "shell")
        if (arguments := calls(task, module)) is not None
        and "FROM " not in str(arguments)
        and (match := by_hand.search(str(arguments)))
    ]
    assert found == []


# ---- surroundings -------------------------------------------------------------------------------


def test_scripts_run_where_temporary_folders_are_mounted_noexec() -> None:
    scripts = [
        (place, arguments)
        for place, task in role_tasks()
        if (arguments := calls(task, "script")) is not None
    ]
    assert len(scripts) >= 5
    assert [place for place, arguments in scripts if not arguments.get("executable")] == []


def test_a_release_that_is_no_number_breaks_no_comparison() -> None:
    """Debian testing has the version `n/a`."""
    compared = re.compile(r"distribution\w* is version|distribution\w* \| float")
    files = [*ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("playbooks/*.yml")]
    assert [
        relative(path) for path in files if compared.search(without_comments(path.read_text()))
    ] == []
