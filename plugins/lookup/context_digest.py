"""Reads the files of an image's build context on the controller and returns a digest of them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: context_digest
short_description: digest of the names and contents of a build context
description:
  - The same files give the same digest, whatever their modes, times and order on the disk are.
options:
  _terms:
    description:
      - Images, each with C(context), a list of folders with C(src) on the controller and C(dest),
        their place in the context, and C(exclude), folders of the context that are left out.
    required: true
"""


def files(folder: Path, dest: str, exclude: Collection[str]) -> Iterator[str]:
    """Yield `PATH SHA256` for each file of a folder, without what Python compiled.

    Args:
        folder: where the files are.
        dest: what stands before their paths in the context, "" or with a slash at its end.
        exclude: folders to leave out, by their path in the context, one or two levels deep.
    """
    for path in folder.rglob("*"):
        name = dest + path.relative_to(folder).as_posix()
        left_out = "/".join(name.split("/")[:2]) in exclude
        if path.is_file() and not path.is_symlink() and path.suffix != ".pyc" and not left_out:
            yield f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def digest(image: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the sorted names and contents of an image's build context."""
    exclude = image.get("exclude", ())
    lines = [
        line
        for folder in image["context"]
        for line in files(Path(folder["src"]), folder["dest"], exclude)
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


class LookupModule(LookupBase):
    """What Ansible loads."""

    def run(
        self, terms: Sequence[Mapping[str, Any]], variables: Any = None, **kwargs: Any
    ) -> list[str]:
        """Return the digest of each image's context."""
        return [digest(image) for image in terms]
