"""Reads tables of texts and labels as people have them: CSV, TSV, gzip, Parquet."""

# pyarrow is not installed with the project.
# mypy: disable-error-code="import-untyped, import-not-found"

import csv
import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXT_COLUMN = "content"
LABEL_COLUMN = "sentiment"

MAX_CELL = 100_000
"""Most characters of a cell: more is a lost quotation mark, or no sentence."""


class InputError(Exception):
    """What the user gave cannot be used; the message says in one line why, and what to do."""


@dataclass(frozen=True)
class Table:
    """Texts, and the label of each: `texts[i]` carries `labels[i]`.

    `rows` is how many rows the file holds, including those left out; `sha256` is the file's.
    Without a column of labels, `labels` is empty.
    """

    texts: list[str]
    labels: list[str]
    rows: int
    sha256: str


def read_table(
    path: Path,
    text_column: str | None = None,
    label_column: str | None = None,
    *,
    labelled: bool = True,
) -> Table:
    """Read a table; rows without a text, or without a label, are left out.

    Args:
        path: .csv, .tsv or .parquet, the first two also with .gz; `~` is the home folder.
        text_column: the header of the texts (default: `content`).
        label_column: the header of the labels (default: `sentiment`).
        labelled: whether a column of labels has to be there.

    Raises:
        InputError: the file cannot be read or does not hold such a table.
    """
    try:
        # Not every shell replaces the `~` of DATA=~/file.csv.
        raw = path.expanduser().read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None
    if path.suffix == ".parquet":
        header, records = _parquet(raw, path)
    else:
        header, records = _csv(raw, path)
    text_at = _column(header, text_column, TEXT_COLUMN, "TEXT_COLUMN", path)
    label_at = None
    if labelled or label_column or _matches(header, LABEL_COLUMN):
        label_at = _column(header, label_column, LABEL_COLUMN, "LABEL_COLUMN", path)
    texts: list[str] = []
    labels: list[str] = []
    rows = 0
    for record in records:
        rows += 1
        text = record[text_at].strip()
        label = "" if label_at is None else record[label_at].strip()
        if text and (label or label_at is None):
            texts.append(text)
            if label_at is not None:
                labels.append(label)
    if not texts:
        columns = f"`{header[text_at]}`"
        if label_at is not None:
            columns += f" and a `{header[label_at]}`"
        raise InputError(f"{path} holds no row with a {columns}; add sentences")
    return Table(texts, labels, rows, hashlib.sha256(raw).hexdigest())


def _matches(header: list[str], wanted: str) -> list[int]:
    """Return where the column is: by its exact name, or else whatever its case."""
    exact = [index for index, name in enumerate(header) if name == wanted]
    return exact or [i for i, name in enumerate(header) if name.casefold() == wanted.casefold()]


def _column(header: list[str], given: str | None, usual: str, option: str, path: Path) -> int:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(f"{path} has two columns named '{twice[0]}'; rename or remove one")
    wanted = given or usual
    found = _matches(header, wanted)
    if len(found) != 1:
        names = ", ".join(map(repr, header))
        raise InputError(
            f"{path} has no column '{wanted}'; its first line names {names}. "
            f"Name the column there, or choose one with {option}=…"
        )
    return found[0]


def _csv(raw: bytes, path: Path) -> tuple[list[str], Iterator[list[str]]]:
    text = _decode(_decompressed(raw, path), path)
    first, _, rest = text.partition("\n")
    delimiter = "\t" if ".tsv" in path.suffixes else ""
    if first.strip().startswith("sep=") and len(first.strip()) == 5:
        # A line that spreadsheets write and read.
        delimiter, text = first.strip()[4], rest
        first = rest.partition("\n")[0]
    if not delimiter:
        delimiter = max(",;\t", key=first.count)
    # Strict, because otherwise one lost quotation mark swallows the rest of the file in silence.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    csv.field_size_limit(sys.maxsize)
    records = _records(reader, path)
    try:
        header = [name.strip() for name in next(records)]
    except StopIteration:
        raise InputError(f"{path} is empty; it needs a header line and sentences") from None
    return header, _of_width(records, len(header), reader, path)


def _records(reader: Any, path: Path) -> Iterator[list[str]]:
    """Yield each record that is not empty; refuse the first that is no CSV."""
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path} is not proper CSV in the record that begins in line {line}: {error}; "
                "fix its quotation marks"
            ) from None
        longest = max(map(len, record), default=0)
        if longest > MAX_CELL:
            raise InputError(
                f"{path}, line {line}: a cell has {longest} characters, more than {MAX_CELL}; "
                "shorten it, or fix a lost quotation mark"
            )
        if any(map(str.strip, record)):
            yield record


def _of_width(
    records: Iterable[list[str]], width: int, reader: Any, path: Path
) -> Iterator[list[str]]:
    """Fill short records up, and refuse longer ones: their columns are not those of the header."""
    for record in records:
        if len(record) > width and any(map(str.strip, record[width:])):
            raise InputError(
                f"{path}, line {reader.line_num}: {len(record)} cells under a header of {width}; "
                'put a text that holds the delimiter into quotation marks: "…"'
            )
        yield record + [""] * (width - len(record))


def _decompressed(raw: bytes, path: Path) -> bytes:
    if path.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error):
        raise InputError(f"{path} is not a whole gzip file; compress the table again") from None


def _decode(raw: bytes, path: Path) -> str:
    if not raw.strip():
        raise InputError(f"{path} is empty; it needs a header line and sentences")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding, name = "utf-16", "UTF-16"
    else:
        # Spreadsheets put a byte order mark in front.
        encoding, name = "utf-8-sig", "UTF-8"
        if b"\0" in raw:
            line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
            raise InputError(
                f"{path} holds a NUL byte in line {line}; it is damaged or no text: save it anew"
            )
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not {name} (line {line}); convert it, for example with "
            "`iconv --from-code=WINDOWS-1252 --to-code=UTF-8`"
        ) from None


def _parquet(raw: bytes, path: Path) -> tuple[list[str], Iterator[list[str]]]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            f"{path} needs the package pyarrow: install it with `.venv/bin/pip install pyarrow`, "
            "or save the table as CSV"
        ) from None
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(raw))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not proper Parquet: {reason}; save it anew") from None
    columns = [column.to_pylist() for column in table.columns]
    records = ([_text(value) for value in row] for row in zip(*columns, strict=True))
    return [name.strip() for name in table.column_names], records


def _text(value: Any) -> str:
    """Return a cell as a CSV would hold it."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
