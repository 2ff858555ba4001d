"""Tables as people have them are read, or refused with one sentence that says what to do."""

# Neither pyarrow nor MLflow is installed with the project.
# mypy: disable-error-code="import-untyped, import-not-found"

import csv
import gzip
import io
from pathlib import Path

import pytest

from labels import counted, plain, review
from table import InputError, Table, read_table

ROWS = [("I love it", "love"), ("so sad", "sadness"), ("fine, really", "neutral")]
HEAD = ("content", "sentiment")


def text(head: tuple[str, ...] = HEAD, delimiter: str = ",", end: str = "\n") -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
    writer.writerow(head)
    writer.writerows(ROWS)
    return file.getvalue()


GOOD = {
    "plain": text().encode(),
    "byte order mark": text().encode("utf-8-sig"),
    "UTF-16": text().encode("utf-16"),
    "semicolons": text(delimiter=";").encode(),
    "tabs": text(delimiter="\t").encode(),
    "a line that names the delimiter": b"sep=;\n" + text(delimiter=";").encode(),
    "CRLF": text(end="\r\n").encode(),
    "CR": text(end="\r").encode(),
    "empty rows": text().replace("\n", "\n\n,\n , \n").encode(),
    "another case": text(("Content", "SENTIMENT")).encode(),
    "blanks in the header": text((" content ", "sentiment ")).encode(),
    "rows that are short": text().encode() + b"no label\n,love\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_table_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a table.csv"
    path.write_bytes(GOOD[name])
    table = read_table(path)
    assert list(zip(table.texts, table.labels, strict=True)) == ROWS


def test_a_suffix_names_the_form(tmp_path: Path) -> None:
    tabs = text(delimiter="\t").encode()
    for name, content in {"a.tsv": tabs, "a.tsv.gz": gzip.compress(tabs),
                          "a.csv.gz": gzip.compress(text().encode())}.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        assert read_table(tmp_path / name).texts == [row[0] for row in ROWS]


def test_parquet_is_read_where_pyarrow_is_installed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        path.write_bytes(b"PAR1")
        with pytest.raises(InputError, match="needs the package pyarrow"):
            read_table(path)
        return
    columns = {"content": ["a", None, "c"], "sentiment": [1.0, 2.0, float("nan")]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    assert (read_table(path).texts, read_table(path).labels) == (["a"], ["1"])


def test_other_columns_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text(("text", "label")))
    assert read_table(path, "text", "label").labels == [row[1] for row in ROWS]
    with pytest.raises(InputError, match=r"no column 'content'; .*'text', 'label'.*TEXT_COLUMN="):
        read_table(path)
    with pytest.raises(InputError, match=r"no column 'sentiment'.*LABEL_COLUMN="):
        read_table(path, "text")
    assert read_table(path, "text", labelled=False) == Table(
        [row[0] for row in ROWS], [], 3, read_table(path, "text", "label").sha256
    )


def test_the_home_folder_has_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.csv").write_text(text())
    assert len(read_table(Path("~/a.csv")).texts) == 3


BAD = {
    "two columns of one name": (text(("content", "content")).encode(), "two columns named"),
    "Latin-1": (text().encode() + "café,love\n".encode("latin-1"), "not UTF-8 (line 5); convert"),
    "NUL": (text().encode() + b"a\0,love\n", "NUL byte in line 5"),
    "an open quotation mark": (
        text().encode() + b'"lost,love\nand more,love\n', "begins in line 5: unexpected end"),
    "an inner quotation mark": (text().encode() + b'"a" b,love\n', "begins in line 5"),
    "a comma too many": (text().encode() + b"one, two,love\n", "line 5: 3 cells under a header"),
    "a long cell": (text().encode() + b"x" * 100_001 + b",love\n", "line 5: a cell has 100001"),
    "no header": (text(ROWS[0]).encode(), "no column 'content'"),
    "empty": (b" \n", "is empty"),
    "header only": (b"content,sentiment\n", "holds no row"),
    "no labels": (b"content,sentiment\nfine,\n", "holds no row with a `content` and a `sentiment`"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_table_is_refused(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_table(path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_text("no gzip")
    for name, message in {"a.csv.gz": "not a whole gzip file", "b.csv": "cannot be read: No such",
                          ".": "cannot be read: Is a directory"}.items():  # fmt: skip
        with pytest.raises(InputError, match=message):
            read_table(tmp_path / name)


# ---- labels --------------------------------------------------------------------------------------


def labelled(*labels: str) -> Table:
    return Table([f"text {number}" for number in range(len(labels))], list(labels), 9, "x")


ODD = ("love", "Love", "love", " lo\u200bve", "nan", "N/A", "fun")


@pytest.mark.parametrize(
    "spelling",
    ["Happy day", "happy  day", "\u200bhappy\u00a0day\u00ad", "\uff48appy day", " HAPPY DAY "],
)
def test_spellings_of_a_label_are_alike(spelling: str) -> None:
    assert plain(spelling) == "happy day"


def test_odd_labels_are_kept_with_a_warning() -> None:
    table, warnings = review(labelled(*ODD), "keep")
    assert table == labelled(*ODD)
    assert warnings == [
        "these labels look like missing values: 'nan' (1)",
        "these labels look like missing values: 'N/A' (1)",
        "these labels differ only in case, white space or invisible characters: "
        "'love' (2), 'Love' (1), ' lo\\u200bve' (1)",
    ]


def test_odd_labels_are_merged() -> None:
    table, warnings = review(labelled(*ODD), "merge")
    assert (table.labels, warnings) == (["love"] * 4 + ["fun"], [])
    assert table.texts == ["text 0", "text 1", "text 2", "text 3", "text 6"]
    assert counted(table) == "love 4, fun 1"


def test_odd_labels_are_refused() -> None:
    with pytest.raises(InputError, match=r"'nan' \(1\).*LABELS=merge"):
        review(labelled(*ODD), "refuse")


@pytest.mark.parametrize("choice", ["keep", "merge", "refuse"])
def test_other_labels_pass_as_they_are(choice: str) -> None:
    table = labelled("love", "7", "true", "hass/Wut 😡", "wor\nry")
    assert review(table, choice) == (table, [])  # type: ignore[arg-type]


def test_too_many_classes_are_refused() -> None:
    review(labelled(*map(str, range(200))), "keep")
    with pytest.raises(InputError, match="201 classes, more than 200"):
        review(labelled(*map(str, range(201))), "keep")
