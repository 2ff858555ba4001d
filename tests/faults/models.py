"""Models for deploys: other ones that are as good, and ones that must not go live."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from faults.stack import ROOT

SHIPPED = ROOT / "model"


def write(folder: Path, pipeline: Any, **card: Any) -> Path:
    """Write a pipeline with a card that fits it, apart from what is named."""
    folder.mkdir()
    joblib.dump(pipeline, folder / "model.joblib")
    seal(folder, **card)
    return folder


def seal(folder: Path, **card: Any) -> None:
    """Have the card name the file's SHA-256."""
    digest = hashlib.sha256((folder / "model.joblib").read_bytes()).hexdigest()
    shipped = json.loads((SHIPPED / "model.json").read_text())
    whole = shipped | {"sha256": digest, "version": digest[:12]} | card
    (folder / "model.json").write_text(json.dumps(whole, indent=2))


def shipped() -> Any:
    return joblib.load(SHIPPED / "model.joblib")


def another(folder: Path, number: int) -> str:
    """Make a model that answers alike and is another file; return its version."""
    pipeline = shipped()
    # Below the tolerance of the golden answers.
    pipeline[-1].intercept_ = pipeline[-1].intercept_ + number * 1e-9
    write(folder, pipeline)
    version: str = json.loads((folder / "model.json").read_text())["version"]
    return version


class Runs:
    """What pickle makes of this runs a program on load."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this ran",))


def changed(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        pipeline = shipped()
        change(pipeline)
        write(folder, pipeline)

    return make


def with_card(**card: Any) -> Callable[[Path], None]:
    return lambda folder: void(write(folder, shipped(), **card))


def void(_: Any) -> None:
    pass


def golden_of_another() -> list[dict[str, Any]]:
    card = json.loads((SHIPPED / "model.json").read_text())
    first, *others = card["golden"]
    another = next(name for name in card["classes"] if name != first["prediction"])
    return [first | {"prediction": another}, *others]


def text(card: str | None = None, model: bytes | None = None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        shutil.copytree(SHIPPED, folder)
        if model is not None:
            (folder / "model.joblib").write_bytes(model)
            seal(folder)
        if card is not None:
            (folder / "model.json").write_text(card)

    return make


def add_nan(pipeline: Any) -> None:
    pipeline[-1].coef_[0, 0] = np.nan


def drop_a_class(pipeline: Any) -> None:
    last = pipeline[-1]
    last.classes_, last.coef_, last.intercept_ = (
        last.classes_[:-1],
        last.coef_[:-1],
        last.intercept_[:-1],
    )


def swap_two_classes(pipeline: Any) -> None:
    pipeline[-1].coef_[[0, -1]] = pipeline[-1].coef_[[-1, 0]]
    pipeline[-1].intercept_[[0, -1]] = pipeline[-1].intercept_[[-1, 0]]


def forget_terms(pipeline: Any) -> None:
    pipeline[-1].coef_ = pipeline[-1].coef_[:, :-1]


def flatten(pipeline: Any) -> None:
    pipeline[-1].coef_ = np.zeros_like(pipeline[-1].coef_)


# Ten that must not go live.
BAD: dict[str, Callable[[Path], None]] = {
    "another file than the card's": with_card(sha256="0" * 64),
    "no pickle": text(model=b"not a model"),
    "a card that is no JSON": text(card='{"name": "tweet-emotions", '),
    "a pickle that runs a program": lambda folder: void(write(folder, Runs())),
    "a weight that is no number": changed(add_nan),
    "a class less than the card": changed(drop_a_class),
    "two classes swapped": changed(swap_two_classes),
    "a weight less for each class": changed(forget_terms),
    "no weight but zero": changed(flatten),
    "golden answers of another model": with_card(golden=golden_of_another()),
}
