"""Filters for what is written on the machine: lists of files, hashes of passwords."""

import base64
import hashlib
import posixpath
from collections.abc import Callable, Mapping
from typing import Any


def file_entries(texts: Mapping[str, str], folder: str, **attributes: Any) -> list[dict[str, Any]]:
    """Return an entry for each text: its path in the folder, its content, and the attributes."""
    return [
        {"path": posixpath.join(folder, name), "content": text, **attributes}
        for name, text in texts.items()
    ]


def salted_sha1(password: str, user: str) -> str:
    """Return a line's hash in htpasswd, as Nginx reads it, of a password that was generated.

    Its salt follows from both, so that the next run writes the same; no one can guess the password.
    """
    salt = hashlib.sha256(f"{user}:{password}".encode()).digest()[:8]
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


class FilterModule:
    """Makes them filters of Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"file_entries": file_entries, "salted_sha1": salted_sha1}
