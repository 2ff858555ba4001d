"""Nothing of a run or of the tests starts programs out of a temporary folder mounted noexec."""

import sys
from pathlib import Path

from unit.namespace import in_namespace

ROOT = Path(__file__).resolve().parents[2]
# Puts a program together, as the tool does, and starts it.
MMDEBSTRAP = """#!/bin/sh
cp /bin/true "$TMPDIR/program" && "$TMPDIR/program" && echo archive
"""
DOCKER = """#!/bin/sh
case $1 in
  info) echo {data} ;;
  import) cat >{data}/imported ;;
esac
"""


def noexec(folder: Path) -> str:
    """Return the lines of a script that mount a folder so and have it for temporary files."""
    return f"mount -t tmpfs -o size=50m,noexec tmpfs {folder}\nexport TMPDIR={folder}\n"


def test_a_base_image_is_made_where_programs_may_run(tmp_path: Path) -> None:
    data, tools, temporary = (tmp_path / name for name in ("data", "tools", "temporary"))
    for folder in (data, tools, temporary):
        folder.mkdir()
    for name, text in (("mmdebstrap", MMDEBSTRAP), ("docker", DOCKER.format(data=data))):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    script = ROOT / "roles/docker/files/bootstrap.sh"
    in_namespace(f"{noexec(temporary)} PATH={tools}:$PATH bash '{script}' app-base:trixie")
    assert (data / "imported").read_text() == "archive\n"
    # And nothing of it stays.
    assert [path.name for path in data.iterdir()] == ["imported"]


def test_the_tests_run_with_temporary_folders_that_start_no_program(tmp_path: Path) -> None:
    """This one puts a program into its own folder and starts it."""
    test = "tests/unit/test_machine_lock.py::test_other_words_give_the_usage"
    command = f"'{sys.executable}' -m pytest -q -p no:cacheprovider {test}"
    printed = in_namespace(f"cd '{ROOT}'\n{noexec(tmp_path)} {command}")
    assert "1 passed" in printed
