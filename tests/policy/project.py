"""What the policy tests read: roles, their tasks, and the files that belong to the project."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
# roles/stack holds what all of these share, and has no variables of its own.
ROLES = sorted(p.name for p in (ROOT / "roles").iterdir() if p.is_dir() and p.name != "stack")
NOT_OURS = {".git", ".venv", ".cache", "dist", "__pycache__"}

Task = dict[str, Any]


def load(path: Path) -> Any:
    """Read YAML; an empty file is an empty dictionary."""
    return yaml.safe_load(path.read_text()) or {}


def role_yaml(role: str, name: str) -> dict[str, Any]:
    """Read a role's file, for example `defaults/main.yml`; a missing one is empty."""
    path = ROOT / "roles" / role / name
    content: dict[str, Any] = load(path) if path.is_file() else {}
    return content


def options(role: str, entry: str = "main") -> dict[str, dict[str, Any]]:
    """Return the role's public variables as its argument specs name them."""
    found: dict[str, dict[str, Any]]
    found = role_yaml(role, "meta/argument_specs.yml")["argument_specs"][entry]["options"]
    return found


@cache
def task_files() -> tuple[Path, ...]:
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml")]
    return tuple(sorted(files))


def walk(tasks: list[Task]) -> Iterator[Task]:
    """Return every task, those in blocks included, and the blocks themselves."""
    for task in tasks:
        yield task
        for key in ("block", "rescue", "always"):
            yield from walk(task.get(key, []))


@cache
def role_tasks() -> tuple[tuple[str, Task], ...]:
    """Return every task of every role with the place where it stands."""
    return tuple(
        (f"{relative(path)}: {task.get('name', '(no name)')}", task)
        for path in task_files()
        for task in walk(load(path) or [])
    )


def calls(task: Task, module: str) -> dict[str, Any] | None:
    """Return the arguments that the task gives the module, or None when it calls another."""
    for key, value in task.items():
        if key.rpartition(".")[2] == module:
            return value if isinstance(value, dict) else {"_raw": value}
    return None


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def project_files() -> tuple[Path, ...]:
    """Return the files that git holds or would take; without git, all but what tools leave."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\0")
        paths = {ROOT / name for name in listed if name}
    except (OSError, subprocess.CalledProcessError):
        paths = {p for p in ROOT.rglob("*") if not NOT_OURS & set(p.relative_to(ROOT).parts)}
    return tuple(sorted(path for path in paths if path.is_file()))


def text_files() -> Iterator[tuple[Path, str]]:
    for path in project_files():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path, content.decode()


def without_comments(text: str) -> str:
    """Return YAML, INI or shell without whole-line and trailing comments."""
    return re.sub(r"(?m)(^|\s)#.*$", "", text)
