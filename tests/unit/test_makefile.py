"""What make hands on, whatever stands in its environment. `make -n` prints it and runs nothing."""

import os
import re
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
        ("model", "DATA=a b.csv", '--out "${OUT:-model}"'),
        ("test", "TIER=unit host", " tests/unit tests/host\n"),
        ("test-all", "LEAVE_OUT=matrix", "'norecursedirs=.* matrix' tests\n"),
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


DEPLOYMENT = ("start-project", "plan", "deploy", "rollback", "stop-project", "upgrade", "teardown")


@pytest.mark.parametrize("target", [*DEPLOYMENT, "status", "logs", "env", "verify", "backup"])
def test_a_deployment_needs_nothing_of_the_tests(target: str, tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        ("make", "-n", target), cwd=tmp_path, env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tests/" not in done.stdout
    assert "bash tools/venv.sh .venv requirements.txt" in done.stdout


CONTRACT = "start-project stop-project test status logs env help".split()


def targets(*words: str) -> list[str]:
    done = subprocess.run(
        ("make", *words), cwd=ROOT, env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return re.findall(r"(?m)^  ([a-z-]+) +[A-Za-z].{8,}$", done.stdout)


def test_help_lists_what_one_needs_and_help_dev_the_rest() -> None:
    needed, rest = targets("help"), targets("help-dev")
    assert set(CONTRACT) <= set(needed)
    assert len(needed) <= 16
    everything = re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text())
    assert sorted(needed + rest) == sorted(everything)


def test_the_benches_have_a_makefile_of_their_own() -> None:
    assert {"api", "gateway", "monitoring", "slow", "start"} <= set(targets("-C", "bench"))
    assert "bench" not in " ".join(targets("help") + targets("help-dev"))
