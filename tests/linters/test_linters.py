"""Every linter, over the whole project. What one has to say is the failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from policy.project import ROOT, project_files, relative

BIN = Path(sys.executable).parent
NAMES = {relative(path): path.name for path in project_files()}
SCRIPTS = [path for path in NAMES if path.endswith(".sh")]
# Ansible's plugins, and what the roles install on the machine, file by file: no packages.
PROGRAMS = [p for p in NAMES if p.startswith(("plugins/", "roles/")) and p.endswith(".py")]
DOCKERFILES = [path for path, name in NAMES.items() if name == "Dockerfile"]
LINTERS = {
    "ansible-lint": "ansible-lint --offline -q".split(),
    "yamllint": "yamllint --strict .".split(),
    "ruff check": "ruff check .".split(),
    "ruff format": "ruff format --check --diff .".split(),
    "mypy": ["mypy", "src", "tests", "tools", "bench", "examples", *PROGRAMS],
    # SC2016: a dollar in single quotes is for another shell, or a word of a message.
    "shellcheck": ["shellcheck", "--exclude=SC2016", *SCRIPTS],
    # DL3008: packages without a version, on purpose: an image takes today's security fixes, and
    # the list of what it got is kept in the image.
    # DL3003: a `cd` ends with its RUN, a WORKDIR would stay.
    "hadolint": ["hadolint", "--ignore=DL3008", "--ignore=DL3003", *DOCKERFILES],
    # What they are told to leave out stands in the script.
    "gixy-ng": [Path(sys.executable).name, "tools/check_nginx.py", "gixy-ng"],
    "gixy-next": [Path(sys.executable).name, "tools/check_nginx.py", "gixy-next"],
}


@pytest.mark.parametrize("name", LINTERS)
def test_linter_finds_nothing(name: str) -> None:
    program, *arguments = LINTERS[name]
    done = subprocess.run(
        (BIN / program, *arguments), cwd=ROOT, env=os.environ, check=False,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(done.stdout or f"exit code {done.returncode}", pytrace=False)
