"""`lookup('machine_program', settings_path)`: the stack's command as one file on the controller."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: machine_program
short_description: The package src/machine as one program
description:
  - Makes a zipapp of the package in the run's own temporary folder, which Ansible removes.
  - The same sources give the same bytes, so that a second run and check mode find no difference.
options:
  _terms:
    description: Path on the machine of the settings that the program reads.
    required: true
"""
RETURN = """
_raw:
  description: Path of the file on the controller.
  type: list
"""

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "machine"
# Isolated from what users or the environment put on Python's path.
SHEBANG = b"#!/usr/bin/python3 -I\n"
MAIN = """import sys
from machine.cli import main
sys.exit(main({settings!r}))
"""
# Zip archives know no earlier time.
TIME = (1980, 1, 1, 0, 0, 0)


def build(package: Path, settings: str) -> bytes:
    """Return the zipapp of a package whose `cli.main` takes the path of the settings.

    As Python's own zipapp, but with fixed order, times and modes.
    """
    texts = {
        f"{package.name}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*.py"))
    }
    texts["__main__.py"] = MAIN.format(settings=settings).encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, text in texts.items():
            entry = zipfile.ZipInfo(name, TIME)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            file.writestr(entry, text)
    return SHEBANG + archive.getvalue()


class LookupModule(LookupBase):
    """`lookup('machine_program', settings_path)`."""

    def run(self, terms: list[Any], variables: Any = None, **_: Any) -> list[str]:
        """Return the path of the program; see RETURN."""
        try:
            program = build(PACKAGE, str(terms[0]))
            name = f"machine-{hashlib.sha256(program).hexdigest()[:12]}.pyz"
            path = Path(constants.DEFAULT_LOCAL_TMP) / name
            if not path.exists():
                # Several workers may make it at once.
                descriptor, unfinished = tempfile.mkstemp(dir=path.parent)
                with open(descriptor, "wb") as file:
                    file.write(program)
                os.replace(unfinished, path)
        except OSError as error:
            raise AnsibleLookupError(f"cannot make the machine's program: {error}") from error
        return [str(path)]
