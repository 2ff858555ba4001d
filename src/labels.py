"""Finds labels that are probably a mistake: alike but for their spelling, or a missing value."""

import unicodedata
from collections import Counter, defaultdict
from typing import Literal

from api.model import MAX_CLASSES
from table import InputError, Table

Choice = Literal["keep", "merge", "refuse"]

MISSING = frozenset({"", "-", "?", "#n/a", "<na>", "n/a", "na", "nan", "none", "null"})
"""What other programs write where there is no value."""


def plain(label: str) -> str:
    """Return a label without case, invisible characters and superfluous white space."""
    text = unicodedata.normalize("NFKC", label)
    visible = "".join(" " if c.isspace() else c for c in text if not _is_invisible(c))
    return " ".join(visible.split()).casefold()


def _is_invisible(character: str) -> bool:
    # Of category Cf are zero-width characters and soft hyphens; white space is no control here.
    return unicodedata.category(character) in ("Cf", "Cc") and not character.isspace()


def review(table: Table, choice: Choice) -> tuple[Table, list[str]]:
    """Look for labels that are probably a mistake.

    Args:
        table: texts with their labels.
        choice: "keep" leaves the labels as they are; "merge" gives those that are alike their most
            frequent spelling, and leaves out rows whose label is a missing value; "refuse" refuses
            the table.

    Returns:
        The table, and a warning for each such group of labels that was kept.

    Raises:
        InputError: such labels were found and `choice` is "refuse", or there are too many classes.
    """
    counts = Counter(table.labels)
    groups = defaultdict(list)
    for label, _ in counts.most_common():
        groups[plain(label)].append(label)
    found = [
        ("look like missing values", labels) for text, labels in groups.items() if text in MISSING
    ] + [
        ("differ only in case, white space or invisible characters", labels)
        for text, labels in groups.items()
        if len(labels) > 1 and text not in MISSING
    ]
    lines = [
        f"these labels {what}: " + ", ".join(f"{label!r} ({counts[label]})" for label in labels)
        for what, labels in found
    ]
    if lines and choice == "refuse":
        raise InputError(f"{'; '.join(lines)}; correct them, or choose LABELS=merge or keep")
    if choice == "merge":
        table, lines = _merged(table, {text: labels[0] for text, labels in groups.items()}), []
    classes = len(set(table.labels))
    if classes > MAX_CLASSES:
        raise InputError(
            f"the data has {classes} classes, more than {MAX_CLASSES}: is this the right column?"
        )
    return table, lines


def _merged(table: Table, spelling: dict[str, str]) -> Table:
    kept = [
        (text, spelling[plain(label)])
        for text, label in zip(table.texts, table.labels, strict=True)
        if plain(label) not in MISSING
    ]
    return Table([text for text, _ in kept], [label for _, label in kept], table.rows, table.sha256)


def counted(table: Table) -> str:
    """Return every class with its number of rows, the most frequent first, in one line."""
    return ", ".join(f"{label} {rows}" for label, rows in Counter(table.labels).most_common())
