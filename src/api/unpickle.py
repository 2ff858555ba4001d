"""Unpickles a model without running what is in it.

A pickle is a program: it may call whatever it can name. Here it may name only what scikit-learn,
NumPy and SciPy define to hold data, and call only classes and the few functions that rebuild
arrays. A user's own names are added one by one, by the variable MODEL_ALLOW.
"""

import io
import os
import pickle
import re
import warnings
from typing import Any

import numpy as np
import scipy.sparse
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler
from joblib.numpy_pickle_utils import _validate_fileobject_and_memmap as decompressed
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from api.model import ModelError

ALLOW_VARIABLE = "MODEL_ALLOW"
"""Environment variable: names such as "package.module.name", separated by commas."""

REBUILDERS = frozenset(
    {
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy.ma.core", "_mareconstruct"),
        ("numpy.random._pickle", "__bit_generator_ctor"),
        ("numpy.random._pickle", "__generator_ctor"),
        ("numpy.random._pickle", "__randomstate_ctor"),
        ("sklearn.metrics._dist_metrics", "newObj"),
        ("sklearn.neighbors._ball_tree", "newObj"),
        ("sklearn.neighbors._kd_tree", "newObj"),
    }
)
"""Functions that a pickle may call: each makes an object of data out of its arguments."""

PLAIN = {
    "builtins": {
        *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"),
        *("object", "range", "set", "slice", "str", "tuple"),
    },
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "numpy": {"dtype", "ndarray"},
    "numpy.ma": {"MaskedArray"},
    "numpy.ma.core": {"MaskedArray"},
}
"""Classes of the standard library and NumPy that hold data, by module."""

DATA_MODULES = (
    "sklearn._loss.",
    "sklearn.calibration",
    "sklearn.ensemble._hist_gradient_boosting.",
    "sklearn.gaussian_process.kernels",
    "sklearn.linear_model._sgd_fast",
    "sklearn.metrics._dist_metrics",
    "sklearn.metrics._scorer",
    "sklearn.model_selection._search",
    "sklearn.model_selection._split",
    "sklearn.neighbors._ball_tree",
    "sklearn.neighbors._kd_tree",
    "sklearn.neural_network._stochastic_optimizers",
    "sklearn.tree._tree",
    "sklearn.utils._bunch",
    "sklearn.utils._metadata_requests",
)
"""Where scikit-learn keeps the classes of a fitted estimator's parts that are no estimators."""

FUNCTION_MODULES = ("sklearn.feature_selection.", "sklearn.metrics.")
"""Functions from here may be a parameter of an estimator, such as chi2; no pickle calls them."""

PARAMETERS = {("numpy", name) for name in ("array", "asarray", "ravel", "squeeze")}
"""NumPy's functions that may be a parameter, as in FunctionTransformer(np.asarray)."""

SOURCES = re.compile(
    r"numpy(\.(dtypes|random\.\w+|_core\.\w+|core\.\w+))?|scipy\.sparse(\._\w+)?|sklearn(\.\w+)*"
)
"""Modules that may be imported to look a name up."""

FOREIGN = re.compile(
    r"sklearn\.(datasets|externals|conftest)\b|\.(tests|_testing|_mocking|__\w+)\b"
)
"""Parts of those that read files, fetch data, are programs or come from elsewhere."""

NEVER = re.compile(
    r"(builtins|codecs|ctypes|importlib|io|joblib|marshal|nt|operator|os|pathlib|pickle|posix|pty|"
    r"runpy|shutil|socket|subprocess|sys|types)(\..*)?|numpy\..*|scipy\..*|sklearn\..*|functools\..*"
)
"""Names that MODEL_ALLOW cannot add: with them a pickle could run anything."""

NAME = re.compile(r"([A-Za-z_]\w*\.)+[A-Za-z_]\w*")


def allowed_names(text: str | None = None) -> frozenset[str]:
    """Return the names of MODEL_ALLOW, or of a text of that form.

    Raises:
        ModelError: one is no dotted name, or would let a pickle run anything.
    """
    text = os.environ.get(ALLOW_VARIABLE, "") if text is None else text
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not NAME.fullmatch(name):
            raise ModelError(f"api_model_allow: {name!r} is no name such as package.module.name")
        if NEVER.fullmatch(name):
            raise ModelError(f"api_model_allow: {name} cannot be allowed in a model")
    return frozenset(names)


def unpickle(content: bytes, allow: frozenset[str] | None = None) -> Any:
    """Unpickle what joblib or pickle wrote.

    Args:
        content: the file's bytes, compressed or not.
        allow: names of the user's own that the pickle may use; by default those of MODEL_ALLOW.

    Raises:
        ModelError: it is no pickle, is of another release of scikit-learn, or names something
            that is not allowed.
    """
    allow = allowed_names() if allow is None else allow
    with warnings.catch_warnings():
        # A model of another scikit-learn loads and then fails, or answers wrongly, later.
        warnings.simplefilter("error", InconsistentVersionWarning)
        try:
            with decompressed(io.BytesIO(content), "") as (file, _):
                return _Joblib(file, allow).load()
        except InconsistentVersionWarning as warning:
            raise ModelError(
                f"model.joblib was made with scikit-learn {warning.original_sklearn_version}, and "
                f"the service has {warning.current_sklearn_version}: fit it again with that release"
            ) from None
        except ModelError:
            raise
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise ModelError(
                f"model.joblib cannot be unpickled: {type(error).__name__}: {reason}"
            ) from None


_Python: Any = pickle._Unpickler


class _Restricted(_Python):  # type: ignore[misc]  # typeshed gives the one in Python no types
    """Names and calls only what is allowed; in Python, since the one in C hides its calls."""

    allow: frozenset[str]
    dispatch = _Python.dispatch.copy()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            return _Array
        # A dotted name would walk from a class to what its module has imported.
        if "." not in name:
            if f"{module}.{name}" in self.allow or name in PLAIN.get(module, ()):
                return super().find_class(module, name)
            if (module, name) in REBUILDERS or _is_unpickler_of_cython(module, name):
                return super().find_class(module, name)
            if (found := self._find(module, name)) is not None and _holds_data(found, name):
                return found
        raise ModelError(
            f"{module}.{name} is not allowed in a model: use what scikit-learn has for it, or put "
            "its package into the image with api_extra_requirements and allow the name with "
            "api_model_allow"
        )

    def _find(self, module: str, name: str) -> Any:
        if not SOURCES.fullmatch(module) or FOREIGN.search(module):
            return None
        try:
            return super().find_class(module, name)
        except (AttributeError, ImportError):
            return None

    def _call(self, function: Any, arguments: Any) -> Any:
        known = getattr(function, "__module__", None), getattr(function, "__name__", None)
        named = ".".join(map(str, known))
        if not (
            isinstance(function, type)
            or known in REBUILDERS
            or _is_unpickler_of_cython(*map(str, known))
            or named in self.allow
        ):
            raise ModelError(f"{named} may not be called by a model")
        return function(*arguments)

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def _instantiate(self, function: Any, arguments: Any) -> None:
        """Make an instance for the opcodes INST and OBJ of old protocols."""
        self.append(self._call(function, arguments))


class _Joblib(_Restricted, NumpyUnpickler):  # type: ignore[misc]  # joblib has no types
    """Reads joblib's format: a pickle with the arrays' bytes between its opcodes."""

    dispatch = NumpyUnpickler.dispatch | {
        pickle.REDUCE[0]: _Restricted.load_reduce,
    }

    def __init__(self, file: Any, allow: frozenset[str]) -> None:
        super().__init__("", file, ensure_native_byte_order=True)
        self.allow = allow


class _Array(NumpyArrayWrapper):  # type: ignore[misc]  # joblib ships no types
    """An array in joblib's format. One of Python objects is a pickle of its own."""

    def read_array(self, unpickler: Any, *arguments: Any) -> Any:
        if not self.dtype.hasobject:
            return super().read_array(unpickler, *arguments)
        inner = _Restricted(unpickler.file_handle)
        inner.allow = unpickler.allow
        array = inner.load()
        if not isinstance(array, np.ndarray):
            raise ModelError("model.joblib holds an array that is none")
        return array


def _is_unpickler_of_cython(module: str, name: str) -> bool:
    """Tell whether Cython made this function, to rebuild an object of one of its classes."""
    cython = module.startswith("sklearn._loss.") or module == "numpy.random.bit_generator"
    return cython and name.startswith("__pyx_unpickle_")


def _holds_data(found: Any, name: str) -> bool:
    """Tell whether this of scikit-learn, NumPy or SciPy only holds data, or is only a parameter."""
    module = str(getattr(found, "__module__", ""))
    if isinstance(found, type):
        # What a module has merely imported is not its own.
        if module.startswith("sklearn.") and not FOREIGN.search(module):
            own = any(
                module == part.rstrip(".") or module.startswith(part) for part in DATA_MODULES
            )
            return issubclass(found, BaseEstimator) or own
        return issubclass(
            found,
            np.generic
            | np.dtype
            | np.random.BitGenerator
            | np.random.Generator
            | np.random.RandomState
            | np.random.SeedSequence
            | scipy.sparse.spmatrix
            | scipy.sparse.sparray,
        ) and module.split(".")[0] in ("numpy", "scipy")
    if isinstance(found, np.ufunc) or (module, name) in PARAMETERS:
        return True
    return callable(found) and module.startswith(FUNCTION_MODULES) and not name.startswith("_")
