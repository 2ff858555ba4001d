"""What pytest makes of a script's PASS, FAIL and SKIP (tests/scripts.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import Check, checks

ROOT = Path(__file__).resolve().parents[2]
LINES = ["noise\n", "PASS it works\n", "FAIL  that: why\n", "     | log\n", "SKIP more: because\n"]


def test_a_check_holds_what_is_printed_after_it() -> None:
    assert list(checks(iter(LINES))) == [
        Check("PASS", "it works", "it works"),
        Check("FAIL", "that", "that: why\n     | log"),
        Check("SKIP", "more", "more: because"),
    ]


def test_the_counts_at_the_end_are_no_check() -> None:
    assert list(checks(iter(["1 passed, 0 failed\n", "PASSED x\n"]))) == []


@pytest.mark.parametrize(
    ("script", "last"),
    [
        ("echo PASS a; echo PASS b; echo SKIP c: no", "1 passed, 1 skipped, 2 subtests passed in "),
        ("echo PASS a; echo FAIL b: why; exit 1", "2 failed, 1 subtests passed in "),
        # A script that ends early.
        ("echo PASS a; exit 3", "1 failed, 1 subtests passed in "),
        ("exit 0", "1 failed in "),
    ],
)
def test_every_line_counts(script: str, last: str, tmp_path: Path) -> None:
    (tmp_path / "script.sh").write_text(script)
    (tmp_path / "test_it.py").write_text(
        "import os\nfrom scripts import passes\n"
        f"def test_it(subtests): passes(subtests, {str(tmp_path / 'script.sh')!r}, os.environ)\n"
    )
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", "-c", "pyproject.toml", tmp_path), cwd=ROOT,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == ("failed" in last), done.stdout
    assert done.stdout.splitlines()[-1].startswith(last)
