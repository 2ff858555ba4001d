"""The scikit-learn side: unpickles a pipeline safely, checks it, and serves any kind of it.

Only this module and `api.compile` import scikit-learn.
"""

import io
import pickle
import warnings
from typing import Any

import numpy as np
from joblib.numpy_pickle import NumpyUnpickler
from joblib.numpy_pickle_utils import _validate_fileobject_and_memmap as decompressed
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from api.model import Explanation, Manifest, ModelError, Prediction

ALLOWED = frozenset(
    {
        ("joblib.numpy_pickle", "NumpyArrayWrapper"),
        ("numpy", "dtype"),
        ("numpy", "float32"),
        ("numpy", "float64"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("scipy.sparse._csr", "csr_matrix"),
        ("scipy.sparse._dia", "dia_matrix"),
        ("sklearn.tree._tree", "Tree"),
    }
)
"""What a pickle may name beside scikit-learn's estimators; nothing here runs what it is given."""


class GenericPredictor:
    """Asks the pipeline itself: about a millisecond a sentence, all of it CPU."""

    kind = "generic"

    def __init__(self, manifest: Manifest, pipeline: Any, reason: str | None) -> None:
        self.manifest = manifest
        self.reason = reason
        self._pipeline = pipeline

    def predict(self, sentence: str) -> Prediction:
        """Judge one sentence; what the pipeline knows of it stays unknown."""
        # `predict` would run the whole pipeline a second time for what argmax knows already.
        row = self._pipeline.predict_proba([sentence])[0]
        label = self.manifest.classes[int(row.argmax())]
        return Prediction(label, row.tolist(), coverage=None)

    def explain(self, sentence: str) -> Explanation | None:
        """Not known for any pipeline."""
        return None


def load_pipeline(content: bytes, manifest: Manifest) -> Any:
    """Unpickle `content`, whose hash was checked, and hold it against the manifest.

    Raises:
        ModelError: it names what is not allowed, is of another release of scikit-learn, is no
            fitted classifier, has other classes, or holds numbers that are not finite.
    """
    pipeline = _unpickle(content)
    try:
        classes = pipeline.classes_.tolist()
        steps = [step for _, step in pipeline.steps]
        usable = callable(pipeline.predict_proba)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise not_the_pipeline(error) from None
    if not usable or classes != manifest.classes:
        raise ModelError("the model's classes are not those that model.json records")
    if not all(map(_is_finite, steps)):
        raise ModelError("the model holds numbers that are not finite")
    return pipeline


def not_the_pipeline(error: Exception) -> ModelError:
    """Say that the unpickled thing does not work, without what it says itself."""
    return ModelError(f"model.joblib is not the pipeline of model.json: {type(error).__name__}")


class _Unpickler(NumpyUnpickler):  # type: ignore[misc]  # joblib ships no types
    """Joblib's own, for what is on the list only.

    Joblib reads an array of Python objects with an unpickler of its own; from release 1.6 on
    that one asks this `find_class`, too, which a test with a live payload holds.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return super().find_class(module, name)
        # A dotted name would walk from a class to what its module has imported.
        if module.startswith("sklearn.") and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and issubclass(found, BaseEstimator):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a model")


def _unpickle(content: bytes) -> Any:
    with warnings.catch_warnings():
        # A model of another scikit-learn loads and then fails, or answers wrongly, later.
        warnings.simplefilter("error", InconsistentVersionWarning)
        try:
            with decompressed(io.BytesIO(content), "") as (file, _):
                return _Unpickler("", file, ensure_native_byte_order=True).load()
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise ModelError(
                f"model.joblib cannot be unpickled: {type(error).__name__}: {reason}"
            ) from None


def _is_finite(step: Any) -> bool:
    """Look at every array of numbers that a fitted step holds itself."""
    values = [value.data if issparse(value) else value for value in vars(step).values()]
    return all(
        np.isfinite(value).all()
        for value in values
        if isinstance(value, np.ndarray) and value.dtype.kind in "fc"
    )
