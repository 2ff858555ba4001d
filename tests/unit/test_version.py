"""Versions, and the breaking changes between two of them."""

import re
from pathlib import Path

import pytest

from plugins.filter.version import breaking_changes, parse, sections

ROOT = Path(__file__).resolve().parents[2]
CHANGELOG = """# Changelog

## 2.1.0 - 2030-01-02

### Added
- Something new.

## [2.0.0] - 2030-01-01

### Breaking
- The command `x` is
  called `y`.
- Port 1 is port 2.

### Fixed
- A fault.

## 1.1.0

### Breaking
- An old name is gone.

## 1.0.0
"""


def test_the_project_has_a_version_that_the_changelog_describes() -> None:
    version = (ROOT / "VERSION").read_text().strip()
    assert parse(version)
    newest = re.search(r"(?m)^## \[?([\d.]+)", (ROOT / "CHANGELOG.md").read_text())
    assert newest
    assert newest[1] == version


def test_each_entry_is_one_line() -> None:
    assert sections(CHANGELOG) == {
        "2.0.0": ["The command `x` is called `y`.", "Port 1 is port 2."],
        "1.1.0": ["An old name is gone."],
    }


@pytest.mark.parametrize(
    ("installed", "accepted", "versions"),
    [
        ("0.0.0", "", ["2.0.0", "2.0.0", "1.1.0"]),
        ("1.0.0", "", ["2.0.0", "2.0.0", "1.1.0"]),
        ("1.1.0", "", ["2.0.0", "2.0.0"]),
        ("1.0.0", "1.1.0", ["2.0.0", "2.0.0"]),
        ("1.0.0", "2.0.0", []),
        ("1.0.0", "2.1.0", []),
        ("2.0.0", "", []),
        ("10.0.0", "", []),
    ],
)
def test_changes_after_the_installed_and_the_accepted_version_are_listed(
    installed: str, accepted: str, versions: list[str]
) -> None:
    found = breaking_changes(CHANGELOG, installed, accepted)
    assert [line.partition(":")[0] for line in found] == versions


@pytest.mark.parametrize("text", ["2", "2.0", "v2.0.0", "all", "2.0.0-rc1"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        breaking_changes(CHANGELOG, "1.0.0", text)
