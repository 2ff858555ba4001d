"""Writes a model and its card: `model.joblib` and `model.json`, both or neither."""

# scikit-learn, SciPy and joblib ship no types.
# mypy: disable-error-code="import-untyped, import-not-found"

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy
import sklearn

from api.model import MANIFEST_FILE as CARD_FILE
from api.model import MODEL_FILE
from api.pipeline import class_texts
from table import InputError

MODEL_NAME = "tweet-emotions"

MEASURE_SECONDS = 300
"""How long a process that asks a model may take."""

TRY_MODEL = str(Path(__file__).with_name("try_model.py"))

GOLDEN_SENTENCES = (
    "I love you so much, thank you for everything!",
    "So happy today, the sun is out and I have no plans :)",
    "I miss my dog so much, the house feels empty without her",
    "I hate Mondays, I hate this bus and I hate the rain",
    "Worried about tomorrow's exam... I haven't studied at all",
    "That concert was so much fun, we laughed all night!!",
    "Finally finished my thesis, what a relief",
    "Wow, I can't believe they gave me the job!?",
    "So bored at work, nothing to do",
    "The meeting was moved to 3 pm in room 12.",
    "Can't wait for the new season to start",
    "Stop shouting at me, I am so angry right now",
    "ok",
    "not good",
    "qzxv wrtpl kkjhgf",
    "Crème brûlée à Paris 🎉❤️ with my sister",
    "@sam happy birthday!! hope you have a great day <3",
    (
        "My phone died, my train is late and my feet hurt. Still, the coffee is good "
        "and the woman next to me is sharing her umbrella, so I can't complain too much."
    ),
)
"""Sentences whose answers the card records, so that a server can prove it answers the same."""


def publish(
    pipeline: Any,
    card: dict[str, Any],
    out: Path,
    *,
    name: str = MODEL_NAME,
    sentences: Sequence[str] = GOLDEN_SENTENCES,
    measured: bool = False,
) -> dict[str, Any]:
    """Write `pipeline` and its card to the folder `out`; swap both in only when both are whole.

    Args:
        pipeline: a fitted classifier that takes texts.
        card: what is known of it; it gains version, SHA-256, size and golden answers.
        out: the folder, which is created if it is missing.
        name: the model's name.
        sentences: those whose answers the card records.
        measured: whether the card gains what the model costs (see try_model.py).

    Returns:
        The card as it was written.

    Raises:
        InputError: the folder cannot be written, or the written model cannot be served.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=out) as staging:
            new_model, new_card = Path(staging, MODEL_FILE), Path(staging, CARD_FILE)
            joblib.dump(pipeline, new_model, compress=("zlib", 6))
            complete = complete_card(card, new_model, name, sentences)
            write_card(complete, new_card)
            if measured:
                complete["cost"] = measure(Path(staging), sentences)["cost"]
                write_card(complete, new_card)
            swap_in(new_model, new_card, out)
    except OSError as error:
        raise InputError(f"the model cannot be written to {out}: {error}; fix that first") from None
    return complete


def write_card(card: dict[str, Any], path: Path) -> None:
    """Write a card as JSON that people can read."""
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def swap_in(new_model: Path, new_card: Path, out: Path) -> None:
    """Rename the new pair over the old one; keep the old model if the card cannot follow.

    A reader between the two renames finds a SHA-256 in the card that is not the model's, and
    must refuse it: it never takes an unlisted model for a listed one.
    """
    model, old_model = out / MODEL_FILE, new_model.with_name("old.joblib")
    for path in (new_model, new_card):
        _flush_to_disk(path)
    with suppress(FileNotFoundError):
        shutil.copy2(model, old_model)
    os.replace(new_model, model)
    try:
        os.replace(new_card, out / CARD_FILE)
    except BaseException:
        if old_model.exists():
            os.replace(old_model, model)
        else:
            model.unlink()
        raise


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def complete_card(
    card: dict[str, Any],
    model: Path,
    name: str = MODEL_NAME,
    sentences: Sequence[str] = GOLDEN_SENTENCES,
) -> dict[str, Any]:
    """Return the card with the fields that describe the file `model`, in their usual order."""
    raw = model.read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    return {
        "name": name,
        "version": sha256[:12],
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": sha256,
        "bytes": len(raw),
        **card,
        "golden": golden_answers(joblib.load(model), sentences),
    }


def golden_answers(
    pipeline: Any, sentences: Sequence[str] = GOLDEN_SENTENCES
) -> list[dict[str, Any]]:
    """Return what `pipeline` answers to each sentence; probabilities are in the classes' order."""
    # One by one, as a server asks: an iterative step may answer a batch a little differently.
    rows = [pipeline.predict_proba([sentence])[0] for sentence in sentences]
    classes = class_texts(pipeline)
    return [
        {
            "sentence": sentence,
            "prediction": classes[int(row.argmax())],
            "probabilities": dict(zip(classes, row.tolist(), strict=True)),
        }
        for sentence, row in zip(sentences, rows, strict=True)
    ]


def measure(folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Load the model of `folder` in a process like a replica's, and return what that measures.

    Raises:
        InputError: the service does not serve the model; the message is its own.
    """
    program = [sys.executable, "-m", "api.compile", str(folder), "--write"]
    run_apart(program, "", MEASURE_SECONDS)
    return run_apart([sys.executable, TRY_MODEL, "cost", str(folder)], json.dumps(list(texts)))


def run_apart(program: list[str], given: str, seconds: int = MEASURE_SECONDS) -> dict[str, Any]:
    """Run a program of ours, with `given` as its standard input; return the JSON that it prints.

    Raises:
        InputError: it ends with an error, whose last line is the message, or takes too long.
    """
    # Threads would share the processor that a replica has for itself.
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    source = str(Path(__file__).resolve().parent)
    try:
        ended = subprocess.run(  # noqa: S603 (our own programs, by our own interpreter)
            program,
            input=given,
            env=os.environ | threads | {"PYTHONPATH": source},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"the model did not answer within {seconds} s; use a faster one") from None
    if ended.returncode < 0:
        raise InputError("the model needs more memory than this machine has; use a smaller one")
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise InputError(lines[-1])
    found: dict[str, Any] = json.loads((ended.stdout.splitlines() or ["{}"])[-1])
    return found


def describe_libraries() -> dict[str, str]:
    """Return the versions a pickle depends on."""
    return {
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "joblib": joblib.__version__,
    }
