"""The stack's command as one file: the same bytes each time, found again by its settings."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from plugins.lookup.machine_program import PACKAGE, build


def test_same_sources_give_the_same_bytes_whenever_and_wherever(tmp_path: Path) -> None:
    copy = shutil.copytree(PACKAGE, tmp_path / "a folder" / "machine")
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__/lock.cpython-312.pyc").write_bytes(b"cached")
    (copy / "lock.py").touch()
    (copy / "lock.py").chmod(0o600)
    assert build(copy, "/etc/app/stack.json") == build(PACKAGE, "/etc/app/stack.json")


def test_program_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(build(PACKAGE, "/etc/app/stack.json"))
    with zipfile.ZipFile(tmp_path / "app") as archive:
        names = set(archive.namelist())
    assert names == {"__main__.py", *(f"machine/{path.name}" for path in PACKAGE.glob("*.py"))}


def test_program_reads_the_settings_that_it_was_made_for(tmp_path: Path) -> None:
    path = tmp_path / "it's etc" / "stack.json"
    folders = {name: str(path.parent) for name in ("stack_dir", "log_dir", "metrics_dir")}
    path.parent.mkdir()
    path.write_text(json.dumps({"stack": "app", **folders}))
    (path.parent / "history.jsonl").write_text('{"what": "deploy"}\n')
    (tmp_path / "app").write_bytes(build(PACKAGE, str(path)))
    command = [sys.executable, "-I", str(tmp_path / "app"), "history"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[1].split() == ["-", "deploy", *"-----"]


def test_help_lists_every_command(tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(build(PACKAGE, "nowhere"))
    command = [sys.executable, "-I", str(tmp_path / "app"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("usage: app ")
    people, _, runs = done.stdout.partition("for the runs of Ansible")
    assert "\n  status  " in people
    assert "\n  roll-back  " in runs
