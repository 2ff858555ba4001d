"""What a model is to the service: its files, its manifest, its answers."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, Field, ValidationError

GOLDEN_TOLERANCE = 1e-6
"""Largest difference of a probability from the manifest's: other CPUs round differently."""

EXACT_TOLERANCE = 1e-12
"""Largest difference of a probability between the compiled predictor and `predict_proba`."""

MAX_CLASSES = 200
"""Most classes of a model: each is a series of metrics, and a part of every debug answer."""

MODEL_FILE = "model.joblib"
MANIFEST_FILE = "model.json"
COMPILED_FILE = "compiled.jsonl"


class ModelError(RuntimeError):
    """The model cannot be served; the message says why, in one line."""


class Golden(BaseModel):
    """A sentence and the answer that training recorded for it."""

    sentence: str
    prediction: str
    probabilities: dict[str, float]


class Reference(BaseModel):
    """What the model said about sentences that it had not seen in training."""

    labels: dict[str, float] = {}
    """Share of each label among its predictions, from 0 to 1."""
    coverage: dict[str, float] = {}
    """Share of the sentences whose coverage is at most the key, from 0 to 1."""


class Cost(BaseModel):
    """What the model took where it was measured: one sentence, a batch of 64, in a replica."""

    milliseconds_per_sentence: float = Field(ge=0)
    milliseconds_per_batch: float = Field(ge=0)
    memory_mb: int = Field(ge=0)
    start_seconds: float = Field(ge=0)


class Manifest(BaseModel):
    """The part of model.json that serving relies on."""

    name: str
    version: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    classes: list[str] = Field(min_length=2, max_length=MAX_CLASSES)
    golden: list[Golden] = Field(min_length=1)
    reference: Reference = Reference()
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable label, and how sure the model is."""

    label: str
    probabilities: list[float]
    """Of each class, in the manifest's order; from 0 to 1, with the sum 1."""
    coverage: float | None
    """Share of the sentence's tokens that the model knows, from 0 to 1 (0 when there is none);
    None when the model does not tell."""

    @property
    def confidence(self) -> float:
        """The highest probability."""
        return max(self.probabilities)

    @property
    def margin(self) -> float:
        """The highest probability less the second highest."""
        second, first = sorted(self.probabilities)[-2:]
        return first - second


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the predicted label won: intercept + sum of the contributions = logit."""

    contributions: list[tuple[str, float]]
    """Every known term of the sentence and its share of the logit, the weightiest first."""
    intercept: float
    logit: float


class Predictor(Protocol):
    """A loaded model that answers one sentence at a time."""

    kind: str
    """`compiled` or `generic`."""
    reason: str | None
    """Why the model could not be compiled; None when it was."""
    manifest: Manifest

    def predict(self, sentence: str) -> Prediction:
        """Judge one sentence."""

    def explain(self, sentence: str) -> Explanation | None:
        """Say why `predict` answers as it does; None when the model cannot tell."""


@runtime_checkable
class BatchPredictor(Predictor, Protocol):
    """A predictor that judges several sentences faster together than one by one."""

    def predict_all(self, sentences: list[str]) -> list[Prediction]:
        """Judge the sentences, in their order."""


def all_at_once(predictor: Predictor) -> Callable[[list[str]], list[Prediction]]:
    """Return the predictor's `predict_all`; without one, a loop over `predict`."""
    if isinstance(predictor, BatchPredictor):
        return predictor.predict_all
    return lambda sentences: [predictor.predict(sentence) for sentence in sentences]


def agrees(predictor: Predictor, golden: Golden) -> bool:
    """Tell whether the model still answers `golden` as it did in training."""
    answer = predictor.predict(golden.sentence)
    classes = predictor.manifest.classes
    return (
        answer.label == golden.prediction
        and golden.probabilities.keys() == set(classes)
        and close(
            answer.probabilities,
            [golden.probabilities[label] for label in classes],
            GOLDEN_TOLERANCE,
        )
    )


def close(ours: Sequence[float], theirs: Sequence[float], tolerance: float) -> bool:
    """Tell whether two rows of probabilities differ by no more than `tolerance` anywhere."""
    # Written so that NaN disagrees.
    return len(ours) == len(theirs) and all(
        abs(a - b) <= tolerance for a, b in zip(ours, theirs, strict=True)
    )


def check_golden(predictor: Predictor) -> None:
    """Refuse a predictor that does not answer as training recorded.

    Raises:
        ModelError: names the first golden sentence that is answered otherwise.
    """
    for number, golden in enumerate(predictor.manifest.golden):
        if not agrees(predictor, golden):
            raise ModelError(f"the model does not answer golden[{number}] as model.json records")


def read_manifest(model_dir: Path) -> Manifest:
    """Read `model.json`.

    Raises:
        ModelError: it cannot be read, or a field is missing or malformed.
    """
    try:
        return Manifest.model_validate_json((model_dir / MANIFEST_FILE).read_bytes())
    except OSError as error:
        raise ModelError(f"model.json cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(f"model.json cannot be used: {field}: {first['msg']}") from None


def read_model(model_dir: Path, manifest: Manifest) -> bytes:
    """Return the model file's bytes; those that were hashed are those that get unpickled.

    Raises:
        ModelError: it cannot be read, or is not the file that the manifest describes.
    """
    try:
        content = (model_dir / MODEL_FILE).read_bytes()
    except OSError as error:
        raise ModelError(f"model.joblib cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        raise ModelError("model.joblib does not have the SHA-256 that model.json records")
    return content
