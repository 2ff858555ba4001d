"""The digest of a build context: names and contents of its files, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from plugins.lookup.context_digest import digest


@pytest.fixture
def image(tmp_path: Path) -> dict[str, Any]:
    for name in ("Dockerfile", "v1/main.py", "v2/main.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return {"context": [{"src": f"{tmp_path}/", "dest": "api/"}], "exclude": ["api/v2"]}


@pytest.mark.parametrize("name", ["__pycache__/main.pyc", "v1/old.pyc", "v2/main.py", "v2/new.py"])
def test_what_is_no_part_of_the_image_changes_nothing(
    image: dict[str, Any], tmp_path: Path, name: str
) -> None:
    before = digest(image)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("other")
    (tmp_path / "Dockerfile").chmod(0o600)
    assert digest(image) == before


@pytest.mark.parametrize("name", ["Dockerfile", "v1/main.py", "v1/new.py", "v1/.hidden"])
def test_what_is_part_of_the_image_changes_it(
    image: dict[str, Any], tmp_path: Path, name: str
) -> None:
    before = digest(image)
    (tmp_path / name).write_text("other")
    assert digest(image) != before


def test_the_place_in_the_context_counts_and_the_place_on_the_disk_does_not(
    image: dict[str, Any], tmp_path: Path
) -> None:
    before = digest(image)
    moved = tmp_path.rename(tmp_path.parent / "moved")
    assert digest({**image, "context": [{"src": str(moved), "dest": "api/"}]}) == before
    assert digest({**image, "context": [{"src": str(moved), "dest": "app/"}]}) != before
