"""Breaking changes between the version of an installed stack and the version of this checkout."""

from __future__ import annotations

import re
from collections.abc import Callable

Version = tuple[int, ...]


def parse(text: str) -> Version:
    """Return a version such as 1.2.0 as numbers; ValueError if it is none."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", text):
        raise ValueError(f"{text} is no version such as 1.2.0")
    return tuple(map(int, text.split(".")))


def sections(changelog: str) -> dict[str, list[str]]:
    """Return the entries under "### Breaking" of each version of CHANGELOG.md, on one line each."""
    found = {}
    for part in re.split(r"(?m)^## ", changelog)[1:]:
        heading, _, body = part.partition("\n")
        version = re.match(r"\[?(\d+\.\d+\.\d+)", heading)
        breaking = re.search(r"(?ms)^### Breaking\n(.*?)(?=^##|^\[|\Z)", body)
        if version and breaking:
            entries = re.split(r"(?m)^- ", breaking[1])[1:]
            found[version[1]] = [" ".join(entry.split()) for entry in entries]
    return found


def breaking_changes(changelog: str, installed: str, accepted: str) -> list[str]:
    """Return the breaking changes that the user has not accepted, as "VERSION: entry".

    `installed` is the version that runs on the machine, `accepted` the one up to which the user
    has read them (empty: none). Both are versions such as 1.2.0.

    Raises:
        ValueError: one is no version.
    """
    known = max(parse(text) for text in (installed, accepted) if text)
    return [
        f"{version}: {entry}"
        for version, entries in sections(changelog).items()
        if parse(version) > known
        for entry in entries
    ]


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Return the filters by name."""
        return {"breaking_changes": breaking_changes}
