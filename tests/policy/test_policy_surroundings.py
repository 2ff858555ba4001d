"""What keeps a user's shell, folder and checkout out of what the commands do."""

import re
import subprocess
from pathlib import Path

import pytest

from policy.project import ROOT, project_files, relative, role_tasks

SCRIPTS = [
    path
    for path in project_files()
    if path.read_bytes().startswith((b"#!/usr/bin/env bash", b"#!/bin/bash"))
    and relative(path).split("/")[0] in ("tests", "tools", "bench", "playbooks", ".ci")
]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 10


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_a_script_finds_its_folder_whatever_cdpath_is(script: Path) -> None:
    found = re.findall(r"""(?m)^(?!#).*?(\S*) ?\bcd "\$\(dirname""", script.read_text())
    assert [before for before in found if not before.endswith("CDPATH=''")] == []


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / "Makefile"], ids=relative)
def test_ansible_is_started_by_the_runner_only(script: Path) -> None:
    lines = [line for line in script.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in lines if re.search(r"\bbin/ansible\b|\bbin\"?/ansible", line)] == []


def test_make_calls_scripts_by_bash() -> None:
    """A zip has no modes."""
    recipes = re.findall(r"(?m)^\t(.*)$", MAKEFILE)
    called = [line for line in recipes if re.search(r"\.sh\b", line)]
    assert len(called) >= 7
    assert [line for line in called if not re.search(r"\bbash [\w/]+\.sh\b", line)] == []


def test_make_takes_only_these_from_the_environment() -> None:
    """WSL, cross compilers and shells set the others for purposes of their own."""
    assert set(re.findall(r"(?m)^(\w+) \?=", MAKEFILE)) == {"TARGET", "INVENTORY", "ARGS"}
    used = set(re.findall(r"\$\((?:or |if )?\$?\(?([A-Z_]+)\b", MAKEFILE))
    given = set(re.findall(r"(?m)^(?:export )?([A-Z_]+) (?::|\?)=", MAKEFILE))
    # Known to make itself, or written down by the Vagrantfile.
    assert used - given <= {"CURDIR", "MAKEFILE_LIST", "MAKECMDGOALS", "STACK_HOST"}


def test_what_a_person_types_reaches_a_recipe_quoted() -> None:
    """By the shell's own variable: make puts a value into the recipe as it is."""
    for name in ("ARGS", "DATA", "FILE", "NAME", "RELEASE", "REQUEST", "ONLY"):
        assert re.search(rf"(?m)^export .*\b{name}\b", MAKEFILE), name
        recipes = "\n".join(re.findall(r"(?m)^\t(.*)$", MAKEFILE))
        # $(if $(NAME),…) looks whether there is one.
        assert not re.search(
            rf"(?<!if )\$\({name}\)", recipes.replace(f'[ -n "$({name})" ]', "")
        ), name


def test_a_scripts_interpreter_is_quoted() -> None:
    """It lies in the checkout, whose name may hold a space; a module's is quoted by Ansible."""
    lines = [
        line
        for _, task in role_tasks()
        for line in re.findall(
            r"{{ *ansible_facts\.python\.executable[^}]*}}",
            str(task.get("ansible.builtin.script", "")),
        )
    ]
    assert len(lines) >= 6
    assert [line for line in lines if "| quote" not in line] == []


def test_git_knows_which_files_are_text() -> None:
    """A checkout with core.autocrlf would write CRLF into scripts and into what is built."""
    command = ("git", "ls-files", "-z", "--eol")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no checkout of git: it came as an archive")
    entries = [line.split("\t", 1) for line in done.stdout.split("\0") if line]
    wrong = [
        name
        for found, name in entries
        if ("i/-text" in found) != ("attr/-text" in found)
        or ("i/lf" in found and "eol=lf" not in found)
    ]
    assert len(entries) > 100
    assert wrong == []
