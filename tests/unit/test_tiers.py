"""How pytest sums the tiers up (tests/conftest.py), on a small tree of tests."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOOD = "def test_good(): pass\n"
BAD = "def test_bad(): assert False\n"
SKIPPED = "import pytest\ndef test_skipped(): pytest.skip('no such thing here')\n"

Ran = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    """Run pytest over tests/TIER/test_TIER.py of these contents."""
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests/conftest.py", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def run(*words: str, **contents: str) -> subprocess.CompletedProcess[str]:
        for tier, content in contents.items():
            (tmp_path / "tests" / tier).mkdir(exist_ok=True)
            (tmp_path / "tests" / tier / f"test_{tier}.py").write_text(content)
        return subprocess.run(
            (sys.executable, "-m", "pytest", "--quiet", *(words or ["tests"])), cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_tests_that_pass_are_counted(ran: Ran) -> None:
    done = ran(unit=GOOD, host=GOOD + SKIPPED)
    assert done.returncode == 0
    assert "unit          1 passed,    0 failed,    0 skipped in 0 s" in done.stdout
    assert "host          1 passed,    0 failed,    1 skipped in 0 s" in done.stdout
    assert "no such thing here" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 passed, 1 skipped in ")


@pytest.mark.parametrize("content", ["", SKIPPED])
@pytest.mark.parametrize("words", ["tests", "tests/host"])
def test_a_tier_without_a_test_fails(ran: Ran, content: str, words: str) -> None:
    done = ran(words, unit=GOOD, host=content)
    assert done.returncode == 1
    assert "ERROR tests/host - no test ran" in done.stdout


def test_some_tiers_may_skip_as_a_whole(ran: Ran) -> None:
    assert ran(unit=GOOD, page=SKIPPED).returncode == 0


def test_what_was_not_asked_for_need_not_run(ran: Ran) -> None:
    assert ran("tests/unit", unit=GOOD, host=SKIPPED, faults=BAD).returncode == 0
    assert ran(unit=GOOD, host=GOOD, faults=BAD).returncode == 0


def test_all_of_it_holds_what_is_left_out_otherwise(ran: Ran) -> None:
    done = ran("--override-ini=norecursedirs=.* matrix", "tests", unit=GOOD, faults=BAD, matrix=BAD)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("1 failed, 1 passed in ")


@pytest.mark.parametrize("broken", ["test_behaviour.py", "conftest.py"])
def test_a_broken_tier_hides_no_other(ran: Ran, tmp_path: Path, broken: str) -> None:
    ran("tests/unit", unit=GOOD, behaviour=GOOD)
    (tmp_path / "tests/behaviour" / broken).write_text("import nothing_of_that_name\n")
    done = ran()
    assert done.returncode == 1
    assert "nothing_of_that_name" in done.stdout
    assert "unit          1 passed" in done.stdout


def test_the_tests_of_the_stack_run_one_after_the_other(pytestconfig: pytest.Config) -> None:
    conftest: Any = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests/conftest.py"))
    scope_of = conftest.scope_of
    behaviour = scope_of("tests/behaviour/test_contract.py::test_x")
    assert behaviour == scope_of("tests/security/test_rate.py::test_y")
    assert behaviour == scope_of("tests/page/test_page_gateway.py::test_z")
    assert behaviour != scope_of("tests/unit/test_x.py::test_x") == "tests/unit/test_x.py"
