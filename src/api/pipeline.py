"""The scikit-learn side: opens a pipeline, checks it, and serves any kind of it.

Only this module, `api.unpickle` and `api.compile` import scikit-learn.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from api.model import MAX_CLASSES, Explanation, Manifest, ModelError, Prediction
from api.unpickle import unpickle

_log = logging.getLogger("api.pipeline")

PROBE = "a text"

NOT_WEIGHTS = frozenset(
    {"bin_thresholds_", "cv_results_", "pvalues_", "scores_", "statistics_", "feature_importances_"}
)
"""Fitted attributes that may hold NaN or infinity in a model that works."""


class GenericPredictor:
    """Asks the pipeline itself: about a millisecond a sentence, all of it CPU."""

    kind = "generic"

    def __init__(self, manifest: Manifest, pipeline: Any, reason: str | None) -> None:
        self.manifest = manifest
        self.reason = reason
        self._pipeline = pipeline

    def predict(self, sentence: str) -> Prediction:
        """Judge one sentence; what the pipeline knows of it stays unknown."""
        return self.predict_all([sentence])[0]

    def predict_all(self, sentences: list[str]) -> list[Prediction]:
        """Judge several sentences by one call of the pipeline, which costs less than one each.

        Raises:
            ValueError: a probability is not a finite number.
        """
        # `predict` would run the whole pipeline a second time for what argmax knows already.
        rows = self._pipeline.predict_proba(sentences)
        if not np.isfinite(rows).all():
            raise ValueError("a probability is not finite")
        winners = rows.argmax(axis=1).tolist()
        return [
            Prediction(self.manifest.classes[winner], row, coverage=None)
            for winner, row in zip(winners, rows.tolist(), strict=True)
        ]

    def explain(self, sentence: str) -> Explanation | None:
        """Not known for any pipeline."""
        return None


def load_pipeline(content: bytes, manifest: Manifest) -> Any:
    """Open a model whose hash was checked, and hold it against its card.

    Raises:
        ModelError: it cannot be served (see `open_pipeline`), or has other classes.
    """
    pipeline = open_pipeline(content)
    if class_texts(pipeline) != manifest.classes:
        raise ModelError("the model's classes are not those that model.json records")
    return pipeline


def open_pipeline(content: bytes, allow: frozenset[str] | None = None) -> Any:
    """Unpickle a model, and make it ready to serve.

    Of a finished search such as GridSearchCV, this is its best estimator. `n_jobs` becomes 1.

    Args:
        content: the bytes of the file that joblib or pickle wrote.
        allow: names of the user's own that the model may use; by default those of MODEL_ALLOW.

    Returns:
        A fitted classifier whose `predict_proba` takes a list of texts.

    Raises:
        ModelError: it cannot be unpickled or served; the message has the reason and the remedy.
    """
    pipeline = unpickle(content, allow)
    if not isinstance(pipeline, BaseEstimator):
        raise ModelError(
            f"model.joblib holds a {type(pipeline).__name__}, not a pipeline of scikit-learn"
        )
    if hasattr(pipeline, "best_estimator_"):
        _log.info("serving the best estimator of the %s", type(pipeline).__name__)
        pipeline = pipeline.best_estimator_
    _check_kind(pipeline)
    _check_parts(pipeline)
    class_texts(pipeline)
    _check_answer(pipeline)
    return pipeline


def label_text(value: Any) -> str:
    """Return a class as it stands on the card and on the wire.

    Text stays as it is, True is "true", and the whole number 7 (or 7.0) is "7".

    Raises:
        ModelError: it is neither text nor a number, or it is empty or NaN.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) or (isinstance(value, float) and np.isfinite(value)):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value
    raise ModelError(f"the class {value!r} is neither text nor a number: name it before fitting")


def class_texts(pipeline: Any) -> list[str]:
    """Return the pipeline's classes as text, in the order of its probabilities.

    Raises:
        ModelError: there is one class only, there are too many, or two have the same text.
    """
    try:
        values = list(pipeline.classes_)
    except AttributeError as error:
        raise not_the_pipeline(error) from None
    if any(isinstance(value, np.ndarray | list) for value in values):
        raise ModelError("the model predicts several labels at once; the service needs one")
    texts = [label_text(value) for value in values]
    if not 2 <= len(texts) <= MAX_CLASSES:
        raise ModelError(
            f"the model has {len(texts)} classes; the service takes 2 to {MAX_CLASSES}"
        )
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise ModelError(f"two classes of the model are {twice!r} as text: rename one, fit again")
    return texts


def not_the_pipeline(error: Exception) -> ModelError:
    """Say that the unpickled thing does not work, without what it says itself."""
    return ModelError(f"model.joblib is not the pipeline of model.json: {type(error).__name__}")


def _check_kind(pipeline: Any) -> None:
    last = pipeline.steps[-1][1] if getattr(pipeline, "steps", None) else pipeline
    name = type(last).__name__
    if is_regressor(pipeline):
        raise ModelError(f"{name} is a regressor; the service needs a classifier")
    if not is_classifier(pipeline):
        raise ModelError(f"the model ends with {name}, which is no classifier: add one, fit again")
    try:
        check_is_fitted(pipeline)
        fitted = hasattr(pipeline, "classes_")
    except NotFittedError:
        fitted = False
    if not fitted:
        raise ModelError("the model is not fitted: call fit before saving it")
    if not hasattr(pipeline, "predict_proba"):
        raise ModelError(
            f"{name} has no predict_proba: wrap it in CalibratedClassifierCV and fit again"
        )


def _check_parts(pipeline: Any) -> None:
    for part in _parts(pipeline, set()):
        if getattr(part, "input", "content") != "content":
            raise ModelError(
                f"{type(part).__name__}(input={part.input!r}) would read files: use input='content'"
            )
        if getattr(part, "n_jobs", None) not in (None, 1):
            _log.info(
                "n_jobs of %s is set from %s to 1: starting workers costs more than a prediction",
                type(part).__name__,
                part.n_jobs,
            )
            part.n_jobs = 1
        for name, value in vars(part).items():
            numbers = value.data if issparse(value) else value
            if (
                name not in NOT_WEIGHTS
                and isinstance(numbers, np.ndarray)
                and numbers.dtype.kind in "fc"
                and not np.isfinite(numbers).all()
            ):
                raise ModelError("the model holds numbers that are not finite")


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """Yield every estimator that a value holds, however deep, each once."""
    if id(value) in seen:
        return
    if isinstance(value, BaseEstimator):
        seen.add(id(value))
        yield value
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        value = value.ravel().tolist()
    if isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item, seen)


def _check_answer(pipeline: Any) -> None:
    try:
        row = np.asarray(pipeline.predict_proba([PROBE]))
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ModelError(
            f"the model cannot answer a text ({type(error).__name__}: {reason}): its first step "
            "has to take a list of texts, as TfidfVectorizer does"
        ) from None
    if row.shape != (1, len(pipeline.classes_)):
        raise ModelError(
            f"predict_proba returns an array of shape {row.shape} for one text, not "
            f"(1, {len(pipeline.classes_)})"
        )
