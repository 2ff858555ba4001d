"""Makes a pipeline that was fitted elsewhere the model of the stack: `make use-model`.

    python src/use_model.py --model my_pipeline.joblib --samples samples.csv --out model

It opens the pipeline in a process of its own, asks it for the samples' answers, measures it as a
replica would run it, and writes `model.joblib` and `model.json`. Whatever fails, the files that
were there before stay as they were. The pipeline may also come from an MLflow registry
(`models:/name@alias`), if the package mlflow is installed beside this program.
"""

# scikit-learn, joblib and MLflow ship no types.
# mypy: disable-error-code="import-untyped, import-not-found"

import argparse
import json
import os
import pickle
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api.model import MANIFEST_FILE, MODEL_FILE
from api.schema import MAX_SENTENCE_CHARACTERS
from api.unpickle import ALLOW_VARIABLE
from publish import TRY_MODEL, describe_libraries, measure, publish, run_apart, swap_in, write_card
from table import LABEL_COLUMN, TEXT_COLUMN, InputError, Table, read_table

ROOT = Path(__file__).resolve().parents[1]

EXIT_OK = 0
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

MOST_SAMPLES = 2_000
"""Most samples that the model is asked, so that a slow one is done in minutes."""
MOST_GOLDEN = 18
FEWEST_FOR_REFERENCE = 100
"""Fewer samples say too little about the share of each class for the drift rules."""
TIE = 1e-6
"""Two probabilities so close may change their order on another processor."""
LOW_ACCURACY = 0.2
REGISTRY = re.compile(r"(models|runs|mlflow-artifacts):/")


def use(given: argparse.Namespace) -> str:
    """Write the model and its card, and return the report.

    Raises:
        InputError: see the message; the files of `given.out` are as before.
    """
    # Before anything is written: the report needs them.
    megabytes(given.memory)
    seconds(given.read_timeout)
    samples = read_table(given.samples, given.text_column, given.label_column, labelled=False)
    samples = _asked(samples)
    out = given.out.expanduser()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=out) as name:
            return _use(given, samples, out, Path(name))
    except OSError as error:
        raise InputError(f"the model cannot be written to {out}: {error}; fix that first") from None


def _use(given: argparse.Namespace, samples: Table, out: Path, folder: Path) -> str:
    source = fetch(given.model, folder)
    shutil.copyfile(source, folder / "given.joblib")
    opened = run_apart([sys.executable, TRY_MODEL, "open", str(folder)], json.dumps(samples.texts))
    classes, rows = opened["classes"], opened["rows"]
    warnings = []
    predictions = [classes[row.index(max(row))] for row in rows]
    accuracy = _accuracy(samples, classes, predictions)
    if accuracy is not None and accuracy < LOW_ACCURACY:
        warnings.append(f"it predicts {accuracy:.0%} of the samples' labels: are they its classes?")
    golden, tied = choose_golden(samples.texts, rows, predictions)
    if tied:
        warnings.append(f"its two best classes tie for {tied} of the samples, such as {tied[0]!r}")
    card: dict[str, Any] = {
        "data": {"file": given.samples.name, "sha256": samples.sha256, "rows": samples.rows},
        "libraries": describe_libraries(),
        "classes": classes,
    }
    if accuracy is not None:
        card["figures"] = {"samples": {"rows": len(samples.texts), "accuracy": accuracy}}
    # The process that opened the pipeline has checked all of it, and wrote this.
    pipeline = pickle.loads((folder / "pipeline.pickle").read_bytes())  # noqa: S301
    ready = folder / "ready"
    written = publish(
        pipeline, card, ready, name=given.name or _name(given.model), sentences=golden
    )
    measured = measure(ready, samples.texts)
    written["cost"] = measured["cost"]
    if len(samples.texts) >= FEWEST_FOR_REFERENCE:
        written["reference"] = _reference(predictions, classes, measured["coverage"])
    else:
        warnings.append(
            f"{len(samples.texts)} samples are too few to watch for drift: give "
            f"{FEWEST_FOR_REFERENCE} or more"
        )
    write_card(written, ready / MANIFEST_FILE)
    swap_in(ready / MODEL_FILE, ready / MANIFEST_FILE, out)
    return report(written, measured, accuracy, warnings, given, out)


def fetch(model: str, folder: Path) -> Path:
    """Return the file of a model: a path, or a URI of an MLflow registry, which is downloaded.

    Raises:
        InputError: there is no such file, or the registry does not give it.
    """
    if not REGISTRY.match(model):
        path = Path(model).expanduser()
        if path.is_dir():
            raise InputError(f"{path} is a folder; name the file that joblib.dump wrote")
        if not path.is_file():
            raise InputError(f"{path} is no file; name the file that joblib.dump wrote")
        return path
    try:
        from mlflow.artifacts import download_artifacts
    except ImportError:
        raise InputError(
            f"{model} needs the package mlflow: install it with `.venv/bin/pip install mlflow`, "
            "and set MLFLOW_TRACKING_URI"
        ) from None
    try:
        found = Path(download_artifacts(artifact_uri=model, dst_path=str(folder)))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{model} cannot be downloaded: {reason}") from None
    files = [path for suffix in ("*.joblib", "*.pkl") for path in sorted(found.rglob(suffix))]
    if not files:
        raise InputError(
            f"{model} holds no pickle of scikit-learn: log it with mlflow.sklearn.log_model(…, "
            'serialization_format="cloudpickle"); skops, the default of MLflow 3, is not supported'
        )
    return files[0]


def _name(model: str) -> str:
    """Return a name for the card: that of the file, or of the registered model."""
    if REGISTRY.match(model):
        return re.sub(r"[^\w.-]+", "-", model.partition(":/")[2].partition("@")[0]).strip("-")
    return Path(model).stem


def _asked(samples: Table) -> Table:
    """Return the samples that the service would take, evenly chosen where there are many."""
    texts = samples.texts
    kept = [number for number, text in enumerate(texts) if len(text) <= MAX_SENTENCE_CHARACTERS]
    if not kept:
        raise InputError(f"every sample is longer than {MAX_SENTENCE_CHARACTERS} characters")
    step = -(-len(kept) // MOST_SAMPLES)
    kept = kept[::step]
    return Table(
        [texts[number] for number in kept],
        [samples.labels[number] for number in kept] if samples.labels else [],
        samples.rows,
        samples.sha256,
    )


def _accuracy(samples: Table, classes: list[str], predictions: list[str]) -> float | None:
    """Return the share of the labels that the model predicts, or None without labels."""
    if not samples.labels:
        return None
    strange = sorted(set(samples.labels) - set(classes))
    if strange:
        raise InputError(
            f"the samples' label {strange[0]!r} is no class of the model, which has "
            f"{', '.join(map(repr, classes[:20]))}; use samples of this model, or without labels"
        )
    right = sum(map(str.__eq__, samples.labels, predictions))
    return round(right / len(predictions), 4)


def choose_golden(
    texts: Sequence[str], rows: Sequence[Sequence[float]], predictions: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Choose texts whose answers a server shall repeat, as diverse as there are.

    Args:
        texts: the samples.
        rows: the probabilities of each, in the order of the classes.
        predictions: the class of each.

    Returns:
        At most 18 texts: of each class the one that is most certain (the most frequent classes
        first), the shortest, the longest, and others evenly; and the texts whose two best classes
        tie, which are not among them.

    Raises:
        InputError: every text ties.
    """
    margins = [second - first for first, second in (sorted(row)[-2:] for row in rows)]
    tied = [text for text, margin in zip(texts, margins, strict=True) if margin <= TIE]
    fit = [number for number, margin in enumerate(margins) if margin > TIE]
    if not fit:
        raise InputError("the model's two best classes tie for every sample: it decides nothing")
    wanted = []
    for label, _ in Counter(predictions).most_common(MOST_GOLDEN - 4):
        of_label = [number for number in fit if predictions[number] == label]
        wanted += [max(of_label, key=margins.__getitem__)] if of_label else []
    by_length = sorted(fit, key=lambda number: len(texts[number]))
    wanted += [by_length[0], by_length[-1]]
    wanted += by_length[:: max(1, len(by_length) // MOST_GOLDEN)]
    chosen = dict.fromkeys(texts[number] for number in wanted)
    return list(chosen)[:MOST_GOLDEN], list(dict.fromkeys(tied))


def _reference(
    predictions: list[str], classes: list[str], coverage: list[float | None]
) -> dict[str, Any]:
    counts = Counter(predictions)
    found: dict[str, Any] = {
        "labels": {label: counts[label] / len(predictions) for label in classes}
    }
    known = [share for share in coverage if share is not None]
    if known:
        tenths = [tenth / 10 for tenth in range(11)]
        found["coverage"] = {
            str(bound): sum(share <= bound for share in known) / len(known) for bound in tenths
        }
    return found


def report(
    card: dict[str, Any],
    measured: dict[str, Any],
    accuracy: float | None,
    warnings: list[str],
    given: argparse.Namespace,
    out: Path,
) -> str:
    """Return what a person wants to know before the model is deployed."""
    cost = card["cost"]
    compiled = measured["predictor"] == "compiled"
    memory, limit = cost["memory_mb"], megabytes(given.memory)
    lines = {
        "model": f"{card['name']} {card['version']}, {len(card['classes'])} classes: "
        + ", ".join(card["classes"][:20])
        + (", …" if len(card["classes"]) > 20 else ""),
        "predictor": "compiled" if compiled else f"scikit-learn: {measured['reason']}",
        "speed": f"{cost['milliseconds_per_sentence']:g} ms a sentence, "
        f"{cost['milliseconds_per_batch']:g} ms a batch of 64",
        "memory": f"{memory} MB of each replica's {limit} MB (api_memory={given.memory})",
        "start": f"{cost['start_seconds']:g} s until a replica is ready",
    }
    if accuracy is not None:
        lines["accuracy"] = f"{accuracy:.1%} of the samples' labels"
    if memory > 0.9 * limit:
        wanted = -(-memory * 5 // 4 // 64) * 64
        warnings.append(f"a replica needs more memory: set api_memory to {wanted}M")
    if cost["milliseconds_per_batch"] > 1000 * seconds(given.read_timeout):
        warnings.append(
            f"a batch of 64 takes longer than {given.read_timeout}: the gateway waits longer for "
            "this model, and one replica answers one request at a time"
        )
    lines |= {f"warning{'' if n == 0 else n + 1}": text for n, text in enumerate(warnings)}
    lines["written"] = f"{out / MODEL_FILE} and {out / MANIFEST_FILE}"
    lines["next"] = "make deploy"
    return "\n".join(f"{name.rstrip('0123456789'):<10} {text}" for name, text in lines.items())


def megabytes(text: str) -> int:
    """Return a size as Docker writes it (256M, 1g, 268435456) in MB.

    Raises:
        InputError: it is no such size.
    """
    match = re.fullmatch(r"(\d+)([bkmg]?)b?", text.lower())
    if not match:
        raise InputError(f"api_memory is {text!r}; write a size such as 256M")
    factor = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}[match[2]]
    return int(match[1]) * factor // 2**20


def seconds(text: str) -> float:
    """Return a time as Nginx writes it (300ms, 1s, 1m) in seconds.

    Raises:
        InputError: it is no such time.
    """
    match = re.fullmatch(r"(\d+)(ms|s|m|h)", text)
    if not match:
        raise InputError(f"nginx_read_timeout is {text!r}; write a time such as 1s")
    return int(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[match[2]]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="use_model",
        description="Make a pipeline that was fitted elsewhere the model of the stack.",
    )
    parser.add_argument("--model", required=True, help="file of joblib, or models:/NAME@ALIAS")
    parser.add_argument(
        "--samples", required=True, type=Path, help="table of texts, with or without labels"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "model", help="folder to write to")
    parser.add_argument("--name", help="the model's name (default: that of the file)")
    parser.add_argument(
        "--text-column", metavar="NAME", help=f"header of the texts ({TEXT_COLUMN})"
    )
    parser.add_argument(
        "--label-column", metavar="NAME", help=f"header of the labels ({LABEL_COLUMN})"
    )
    parser.add_argument("--memory", default="256M", help="api_memory of the stack")
    parser.add_argument("--read-timeout", default="1s", help="nginx_read_timeout of the stack")
    parser.add_argument("--allow", default="", help="api_model_allow of the stack, with commas")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 on an error, 130 when interrupted."""
    given = _parse(arguments)
    os.environ[ALLOW_VARIABLE] = given.allow
    try:
        print(use(given))
    except InputError as error:
        print(f"use_model: error: {error}. Nothing was changed.", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("use_model: interrupted. Nothing was changed.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
