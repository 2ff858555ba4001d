"""Tries every kind of pipeline of bench/kinds.py, and writes the table of docs/own-models.md.

    make -C bench models

Each is fitted on the sample of data/, saved by joblib, and taken as `make use-model` takes it.
"""

import argparse
import re
import sys
import tempfile
import warnings
from pathlib import Path

import joblib

import use_model
from bench.kinds import KINDS, fit
from table import InputError, read_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/own-models.md"
BEGIN, END = "<!-- kinds: written by make -C bench models -->", "<!-- end of kinds -->"
HEAD = [
    "| pipeline | predictor | ms a sentence | ms a batch of 64 | memory, MB | verdict |",
    "|---|---|---:|---:|---:|---|",
]


def row(kind: str, sample: Path, folder: Path) -> str:
    """Take one kind as `make use-model` does; return its line of the table."""
    table = read_table(sample)
    path = folder / "model.joblib"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        joblib.dump(fit(kind, table.texts, table.labels), path)
    given = argparse.Namespace(
        model=str(path), samples=sample, out=folder / "out", name="bench", memory="256M",
        read_timeout="1s", text_column=None, label_column=None, allow="",
    )  # fmt: skip
    try:
        report = use_model.use(given)
    except InputError as error:
        return f"| {kind} | - | - | - | - | refused: {str(error).replace('|', chr(92) + '|')} |"
    lines = {name: text for name, _, text in (line.partition(" ") for line in report.splitlines())}
    speed = re.findall(r"([\d.]+) ms", lines["speed"])
    memory = re.findall(r"(\d+) MB", lines["memory"])[0]
    predictor = lines["predictor"].strip().partition(":")[0]
    return f"| {kind} | {predictor} | {speed[0]} | {speed[1]} | {memory} | served |"


def main() -> None:
    """Write the table."""
    sample = ROOT / "data/tweet_emotions.csv"
    rows = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(kind, sample, Path(folder)))
        print(rows[-1], flush=True)
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{PAGE} lacks the lines {BEGIN} and {END}")
    table = "\n".join([BEGIN, *HEAD, *rows, END])
    PAGE.write_text(before + table + after, encoding="utf-8")


if __name__ == "__main__":
    main()
