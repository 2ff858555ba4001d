"""What make hands on, whatever stands in its environment. `make -n` prints it and runs nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEW = ("--old-file=.venv/controller", "--old-file=.venv/tests")


def make(
    *words: str, folder: Path | str = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ("make", "-n", *NEW, *words), cwd=folder, env={"PATH": os.environ["PATH"], **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("rotate-password", "NAME"), ("model", "DATA"), ("status", "FORMAT"), ("status", "TARGET"),
        ("logs", "LINES"), ("logs", "REQUEST"), ("history", "LINES"), ("rollback", "RELEASE"),
        ("backup", "FILE"), ("restore", "FILE"), ("teardown", "CONFIRM"), ("check-tls", "GRADE"),
        ("start-project", "VENV"), ("start-project", "BIN"), ("start-project", "RUN"),
        ("start-project", "PLAYBOOK"), ("env", "ASK"), ("plan", "BECOME"), ("audit", "LOCAL"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["json", "x86_64-linux-gnu", "yes"])
def test_a_variable_that_others_set_changes_nothing(target: str, name: str, value: str) -> None:
    assert make(target, **{name: value}).stdout == make(target).stdout != ""


@pytest.mark.parametrize(
    ("target", "assignment", "part"),
    [
        ("status", "FORMAT=json", "status --json"),
        ("logs", "LINES=7", "logs '7'"),
        ("logs", "REQUEST=a b", '--request "$REQUEST"'),
        ("rollback", "RELEASE=x", '--text api_release="$RELEASE"'),
        ("backup", "FILE=~/a b", '--path monitoring_archive_path="$FILE"'),
        ("rotate-password", "NAME=second", '--list nginx_new_passwords="${NAME:-admin}"'),
        ("model", "DATA=a b.csv", "--out model"),
    ],
)
def test_the_command_lines_counts(target: str, assignment: str, part: str) -> None:
    assert part in make(target, assignment).stdout


def shown(*words: str, **environment: str) -> str:
    """What a recipe sees of its environment."""
    return make("--eval=show: ; +@env", "show", *words, **environment).stdout


def test_a_machine_may_be_named_by_the_environment() -> None:
    assert "INVENTORY=inventory/vm.yml\n" in shown(TARGET="vm", STACK_HOST="192.0.2.1")
    assert "INVENTORY=inventory/localhost.yml\n" in shown(TARGET="x86_64-linux-gnu")
    assert "INVENTORY=inventory/none.yml\n" in shown("TARGET=none")


def test_values_arrive_in_recipes_as_they_were_typed() -> None:
    args = """-e {"a": "it's"} -e 'b=1 2'"""
    seen = shown(f"ARGS={args}", "FILE=~/a b'c", 'NAME=a"b')
    for line in (f"ARGS={args}\n", "FILE=~/a b'c\n", 'NAME=a"b\n'):
        assert line in seen


def test_recipes_do_not_see_what_steers_shells_and_python() -> None:
    names = "CDPATH BASH_ENV SHELLOPTS POSIXLY_CORRECT PYTHONHOME PYTHONPATH LANGUAGE".split()
    seen = shown(LC_ALL="xx", **dict.fromkeys(names, "theirs"))
    assert "theirs" not in seen
    assert "LC_ALL=C.UTF-8\n" in seen


@pytest.mark.parametrize("name", ["a:b", "a$HOME", "a{b", "a*", "a?", "[a]"])
def test_a_folder_that_cannot_work_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    done = make("start-project", folder=folder)
    assert done.returncode != 0
    assert "Move this checkout to a folder without" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["a b", "ä", "it's", 'a"b', "a#b", "a%b", "a;b&c", "(a)", "~a"])
def test_other_names_are_fine(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    assert make("start-project", folder=folder).stdout == make("start-project").stdout
