"""A model never runs what is in it: attacks with live payloads, each of which writes a file."""

import contextlib
import functools
import io
import operator
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.feature_selection import chi2
from sklearn.preprocessing import FunctionTransformer

from api.model import ModelError
from api.unpickle import allowed_names, unpickle


class Call:
    """A pickle of it calls a function with arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class Named:
    """A pickle of it is the object that a module has under a name, even a dotted one."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


PYTHON: Any = pickle._Pickler


class NamedPickler(PYTHON):  # type: ignore[misc]  # typeshed gives the one in Python no types
    """Writes `Named` as the name that it stands for, and `Call` whatever it calls."""

    dispatch = PYTHON.dispatch.copy()

    def save_named(self, value: Named) -> None:
        self.save(value.module)
        self.save(value.name)
        self.write(pickle.STACK_GLOBAL)

    dispatch[Named] = save_named

    def save_call(self, value: Call) -> None:
        self.save(value.function)
        self.save(value.arguments)
        self.write(pickle.REDUCE)

    dispatch[Call] = save_call


def pickled(value: Any) -> bytes:
    file = io.BytesIO()
    NamedPickler(file, 4).dump(value)
    return file.getvalue()


def with_joblib(value: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file)
    return file.getvalue()


def command(mark: Path) -> str:
    return f"touch '{mark}'"


def old_protocol(opcode: bytes) -> Callable[[Path], bytes]:
    def make(mark: Path) -> bytes:
        text = repr(command(mark)).encode()
        if opcode == pickle.INST:
            return b"(S" + text + b"\nios\nsystem\n."
        return b"(cos\nsystem\nS" + text + b"\no."

    return make


def call(*arguments: Any) -> Callable[[Path], bytes]:
    """Make an attack: a function and its arguments, of which `Path` stands for the mark."""
    return lambda mark: pickled(
        Call(*(str(mark) if argument is Path else argument for argument in arguments))
    )


def in_an_array(make: Callable[[Path], Any]) -> Callable[[Path], bytes]:
    def hide(mark: Path) -> bytes:
        array = np.empty(1, dtype=object)
        array[0] = make(mark)
        return with_joblib(FunctionTransformer(kw_args={"a": array}))

    return hide


def partial(mark: Path) -> bytes:
    return pickled(Call(functools.partial(os.system, command(mark))))


# Each writes the file that it gets when a plain unpickler loads it.
ATTACKS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda mark: pickled(Call(os.system, command(mark))),
    "builtins.eval": lambda mark: pickled(Call(eval, f"open({str(mark)!r}, 'w')")),
    "builtins.open": call(open, Path, "w"),
    "builtins.getattr": lambda mark: pickled(
        Call(Call(getattr, Named("posix", "system"), "__call__"), command(mark))
    ),
    "functools.partial": partial,
    "operator.methodcaller": lambda mark: pickled(
        Call(operator.methodcaller("touch"), Call(Named("pathlib", "PosixPath"), str(mark)))
    ),
    "numpy.memmap": call(np.memmap, Path, "uint8", "w+", 0, 1),
    "numpy.save": call(np.save, Path, [1]),
    "numpy.vectorize": lambda mark: pickled(Call(Call(np.vectorize, os.system), command(mark))),
    "numpy.savetxt": call(np.savetxt, Path, [1]),
    "joblib.dump": call(Named("joblib", "dump"), [1], Path),
    "sklearn, a dotted name": lambda mark: pickled(
        Call(Named("sklearn.utils._show_versions", "platform.os.system"), command(mark))
    ),
    "sklearn.datasets": call(Named("sklearn.datasets", "dump_svmlight_file"), [[1.0]], [1.0], Path),
    "scipy.io": lambda mark: pickled(Call(Named("scipy.io", "savemat"), str(mark), {"a": [1]})),
    "protocol 0, INST": old_protocol(pickle.INST),
    "protocol 1, OBJ": old_protocol(pickle.OBJ),
    "in an array of objects": in_an_array(lambda mark: Call(os.system, command(mark))),
    "an estimator's state": lambda mark: with_joblib(
        FunctionTransformer(kw_args={"a": Call(os.system, command(mark))})
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_payload_never_runs(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    content = ATTACKS[name](mark)
    with pytest.raises(ModelError, match="is not allowed in a model"):
        unpickle(content)
    assert list(tmp_path.iterdir()) == []
    # The payload is a live one: joblib and pickle themselves run it.
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        joblib.load(io.BytesIO(content))
    assert list(tmp_path.iterdir()) != []


@pytest.mark.parametrize("in_array", [False, True])
def test_a_function_that_may_be_a_parameter_is_not_called(in_array: bool, tmp_path: Path) -> None:
    called = Call(chi2, [[1.0], [2.0]], [0, 1])
    content = in_an_array(lambda _: called)(tmp_path) if in_array else pickled(called)
    with pytest.raises(ModelError, match=r"chi2 may not be called by a model"):
        unpickle(content)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "type"), ("builtins", "exec"), ("builtins", "__import__"),
        ("builtins", "memoryview"), ("codecs", "encode"), ("copyreg", "_reconstructor"),
        ("ctypes", "CDLL"), ("importlib", "import_module"), ("itertools", "starmap"),
        ("numpy", "load"), ("numpy", "fromfile"), ("numpy", "genfromtxt"), ("numpy", "frompyfunc"),
        ("numpy._core", "_ufunc_reconstruct"), ("numpy", "DataSource"),
        ("numpy", "apply_along_axis"), ("numpy", "piecewise"),
        ("numpy.f2py.__main__", "main"), ("numpy.testing", "measure"),
        ("numpy.lib.npyio", "NpzFile"), ("scipy", "LowLevelCallable"),
        ("scipy.stats", "rv_continuous"), ("scipy.sparse", "load_npz"),
        ("sklearn.datasets", "load_files"), ("sklearn.datasets", "fetch_openml"),
        ("sklearn.utils", "check_array"), ("sklearn.utils.parallel", "Parallel"),
        ("sklearn.utils.parallel", "_FuncWrapper"), ("sklearn.utils._testing", "raises"),
        ("sklearn.utils._mocking", "CheckingClassifier"), ("sklearn.base", "inspect"),
        ("sklearn.pipeline", "Memory"), ("sklearn.conftest", "fetch_fixture"),
        ("sklearn.externals._arff", "load"), ("sklearn.tests.test_base", "MyEstimator"),
        ("sklearn", "config_context"), ("sklearnx.svm", "SVC"), ("sklearn.nowhere", "X"),
        ("sklearn.feature_selection", "SelectKBest.fit"), ("sklearn.svm", "Nothing"),
        ("joblib", "Memory"), ("joblib.numpy_pickle", "load"),
        ("pickle", "loads"), ("__main__", "my_tokenizer"), ("mypackage.text", "clean"),
    ],
)  # fmt: skip
def test_a_name_that_does_more_than_hold_data_is_refused(module: str, name: str) -> None:
    with pytest.raises(ModelError) as refusal:
        unpickle(pickled(Named(module, name)))
    message = str(refusal.value)
    assert message.startswith(f"{module}.{name} is not allowed in a model: ")
    assert "scikit-learn" in message
    assert "api_extra_requirements" in message
    assert "api_model_allow" in message


def test_a_name_that_is_refused_is_not_even_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strange.py").write_text("thing = object\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"strange\.thing is not allowed"):
        unpickle(pickled(Named("strange", "thing")))
    assert "strange" not in sys.modules


def test_the_users_own_name_is_allowed_when_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ourtext.py").write_text("def clean(text):\n    return text.lower()\n")
    monkeypatch.syspath_prepend(tmp_path)
    content = pickled(FunctionTransformer(Named("ourtext", "clean")))
    with pytest.raises(ModelError, match=r"ourtext\.clean is not allowed"):
        unpickle(content)
    monkeypatch.setenv("MODEL_ALLOW", "another.name, ourtext.clean")
    assert unpickle(content).func("A") == "a"


@pytest.mark.parametrize("text", ["*", "clean", "a..b", "a.b()", "a-b.c", "a.*"])
def test_what_is_no_name_cannot_be_allowed(text: str) -> None:
    with pytest.raises(ModelError, match=r"api_model_allow: .* is no name such as"):
        allowed_names(text)


@pytest.mark.parametrize(
    "text", ["os.system", "builtins.eval", "posix.system", "subprocess.run", "numpy.load",
             "functools.partial", "operator.attrgetter", "importlib.import_module", "pickle.loads",
             "joblib.load", "os.path.join", "sklearn.datasets.load_files"],
)  # fmt: skip
def test_what_could_run_anything_cannot_be_allowed(text: str) -> None:
    with pytest.raises(ModelError, match="cannot be allowed in a model"):
        allowed_names(f"ours.fine,{text}")


def test_no_name_is_allowed_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_ALLOW", raising=False)
    assert allowed_names() == frozenset()
