"""Tables for people."""

from collections.abc import Mapping, Sequence


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Lay rows out in columns as wide as their longest value; None is a dash."""
    cells = [[name.upper() for name in columns]]
    cells += [["-" if row.get(n) is None else str(row[n]) for n in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
