"""Loads the model, proves that it is the one the manifest describes, and asks it.

Only this file knows that the model is a scikit-learn pipeline.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from pydantic import BaseModel, Field, ValidationError
from sklearn.exceptions import InconsistentVersionWarning

GOLDEN_TOLERANCE = 1e-6
"""Largest difference of a probability from the manifest's: other CPUs round differently."""


class ModelError(RuntimeError):
    """The model cannot be served; the message says why, in one line."""


class Golden(BaseModel):
    """A sentence and the answer that training recorded for it."""

    sentence: str
    prediction: str
    probabilities: dict[str, float]


class Manifest(BaseModel):
    """The part of model.json that serving relies on."""

    name: str
    version: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    classes: list[str] = Field(min_length=2)
    golden: list[Golden] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable label, and the probability (0 to 1) of each label."""

    label: str
    probabilities: dict[str, float]


class Predictor:
    """A loaded model that answers one sentence at a time."""

    def __init__(self, pipeline: Any, manifest: Manifest) -> None:
        self.manifest = manifest
        self._pipeline = pipeline

    def predict(self, sentence: str) -> Prediction:
        """Judge one sentence: about a millisecond, all of it CPU."""
        # `predict` would run the whole pipeline a second time for what argmax knows already.
        row = self._pipeline.predict_proba([sentence])[0]
        classes = self.manifest.classes
        return Prediction(
            label=classes[int(row.argmax())],
            probabilities=dict(zip(classes, row.tolist(), strict=True)),
        )

    def agrees_with(self, golden: Golden) -> bool:
        """Tell whether the model still answers `golden` as it did in training."""
        answer = self.predict(golden.sentence)
        return (
            answer.label == golden.prediction
            and answer.probabilities.keys() == golden.probabilities.keys()
            and all(
                # Written so that NaN disagrees.
                abs(probability - golden.probabilities[label]) <= GOLDEN_TOLERANCE
                for label, probability in answer.probabilities.items()
            )
        )


def load_predictor(model_dir: Path) -> Predictor:
    """Load `model.joblib` from `model_dir` if it is what `model.json` says.

    Raises:
        ModelError: a file is missing or altered, the libraries do not fit, or the model does
            not answer as it did in training.
    """
    manifest = _read_manifest(model_dir / "model.json")
    pipeline = _unpickle(_read_checked(model_dir / "model.joblib", manifest.sha256))
    try:
        _check_arrays(pipeline, manifest)
        predictor = Predictor(pipeline, manifest)
        wrong = [n for n, g in enumerate(manifest.golden) if not predictor.agrees_with(g)]
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ModelError(
            f"model.joblib is not the pipeline of model.json: {type(error).__name__}"
        ) from None
    if wrong:
        raise ModelError(f"the model does not answer golden[{wrong[0]}] as model.json records")
    return predictor


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"model.json cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(f"model.json cannot be used: {field}: {first['msg']}") from None


def _read_checked(path: Path, sha256: str) -> bytes:
    """Return the file's bytes; those that were hashed are those that get unpickled."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"model.joblib cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError("model.joblib does not have the SHA-256 that model.json records")
    return content


def _unpickle(content: bytes) -> Any:
    """Unpickle, which may run any code: hand in checked bytes only."""
    with warnings.catch_warnings():
        # A model of another scikit-learn loads and then fails, or answers wrongly, later.
        warnings.simplefilter("error", InconsistentVersionWarning)
        try:
            return joblib.load(io.BytesIO(content))
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise ModelError(
                f"model.joblib cannot be unpickled: {type(error).__name__}: {reason}"
            ) from None


def _check_arrays(pipeline: Any, manifest: Manifest) -> None:
    if pipeline.classes_.tolist() != manifest.classes:
        raise ModelError("the model's classes are not those that model.json records")
    vectorizer, classifier = pipeline[0], pipeline[-1]
    for array in (vectorizer.idf_, classifier.coef_, classifier.intercept_):
        if not np.isfinite(array).all():
            raise ModelError("the model holds numbers that are not finite")
