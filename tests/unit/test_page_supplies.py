"""Set-up for the tests of the status page: what is missing is installed, or named as the reason."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from page import supplies

ROOT = Path(__file__).resolve().parents[2]
BOTH = ["chromium", "libjs-dygraphs"]
Machine = Callable[..., Callable[[], list[str]]]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Give a machine with some of the supplies, and apt-get's command lines there."""

    def make(
        here: list[str], distribution: str = "debian", code: int = 0
    ) -> Callable[[], list[str]]:
        log = tmp_path / "asked"
        apt = tmp_path / "apt-get"
        apt.write_text(
            f'#!/bin/sh\necho "$@" >>"{log}"\necho E: no such package >&2\nexit {code}\n'
        )
        apt.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        (tmp_path / "os-release").write_text(f'NAME="A name"\nID={distribution}\n')
        monkeypatch.setattr(supplies, "OS_RELEASE", tmp_path / "os-release")
        found = {
            package: (lambda package=package: package in here, what)
            for package, (_, what) in supplies.SUPPLIES.items()
        }
        monkeypatch.setattr(supplies, "SUPPLIES", found)
        return lambda: log.read_text().splitlines() if log.exists() else []

    return make


@pytest.mark.parametrize("here", [[], BOTH[:1], BOTH[1:], BOTH], ids=str)
def test_what_is_missing_is_installed_and_said_before(
    machine: Machine, capsys: pytest.CaptureFixture[str], here: list[str]
) -> None:
    asked = machine(here)
    wanted = [package for package in BOTH if package not in here]
    assert supplies.main() == 0
    lines = asked()
    assert [line.split("--no-install-recommends ")[1] for line in lines] == (
        [" ".join(wanted)] if wanted else []
    )
    said = capsys.readouterr().out
    assert [package for package in BOTH if package in said] == wanted


def test_ubuntus_chromium_is_left_alone(machine: Machine) -> None:
    asked = machine([], distribution="ubuntu")
    assert supplies.main() == 0
    (line,) = asked()
    assert line.split("--no-install-recommends ")[1] == "libjs-dygraphs"


def test_a_failed_installation_is_said_and_ends_nothing(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = machine([], code=100)
    assert supplies.main() == 0
    # Tried again with fresh lists.
    assert [line.split()[2] for line in asked()] == ["install", "update", "install"]
    assert "could not be installed: E: no such package" in capsys.readouterr().out


def test_nothing_is_installed_where_sudo_asks_for_a_password(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = machine([])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "sudo").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "sudo").chmod(0o755)
    assert supplies.main() == 0
    assert asked() == []


def test_the_reason_names_the_package() -> None:
    for package in supplies.SUPPLIES:
        assert supplies.reason(package).endswith(f"apt-get install {package}")


def test_the_page_is_served_by_the_fixture_that_looks_for_the_library() -> None:
    users = {
        file.name
        for file in (ROOT / "tests/page").glob("*.py")
        if "with fake_gateway()" in file.read_text(encoding="utf-8")
    }
    assert users == {"conftest.py", "shoot.py"}


@pytest.mark.parametrize("words", ["test", "test TIER=page", "test-all", "test TIER=unit"])
def test_make_sets_up_before_it_tests_the_page(words: str) -> None:
    done = subprocess.run(
        ("make", "-n", *words.split()), cwd=ROOT, env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    before = done.stdout.partition("-m pytest")[0]
    assert ("tests/page/supplies.py" in before) is (words != "test TIER=unit")
