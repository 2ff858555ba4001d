"""Only the very model that the manifest describes is ever served."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from api.model import ModelError, load_predictor

EditManifest = Callable[[dict[str, Any]], object]


@pytest.fixture
def copy(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the model to spoil."""
    for name in ("model.joblib", "model.json"):
        shutil.copy(model_dir / name, tmp_path)
    return tmp_path


def edit_manifest(folder: Path, edit: EditManifest) -> None:
    path = folder / "model.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def replace_model(folder: Path, content: bytes) -> None:
    """Put other bytes in the model's place and let the manifest vouch for them."""
    (folder / "model.joblib").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit_manifest(folder, lambda m: m.update(sha256=digest, version=digest[:12]))


def dump(folder: Path, model: object) -> None:
    joblib.dump(model, folder / "model.joblib")
    replace_model(folder, (folder / "model.joblib").read_bytes())


def flip_a_bit(folder: Path) -> None:
    path = folder / "model.joblib"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_model_loads_and_agrees_with_every_golden_sentence(model_dir: Path) -> None:
    predictor = load_predictor(model_dir)
    assert all(map(predictor.agrees_with, predictor.manifest.golden))


def test_probabilities_are_plain_floats(model_dir: Path) -> None:
    prediction = load_predictor(model_dir).predict("I love you")
    assert all(type(p) is float for p in prediction.probabilities.values())
    assert type(prediction.label) is str


def test_flipped_bit_is_refused(copy: Path) -> None:
    flip_a_bit(copy)
    with pytest.raises(ModelError, match=r"model\.joblib does not have the SHA-256"):
        load_predictor(copy)


def test_foreign_pickle_is_refused_before_it_runs(copy: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "it-ran",)

    content = pickle.dumps(Payload())
    (copy / "model.joblib").write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256"):
        load_predictor(copy)
    assert not (tmp_path / "it-ran").exists()
    # The payload is a live one: without the check it would have run.
    pickle.loads(content)
    assert (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("name", ["model.joblib", "model.json"])
def test_missing_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"{name} cannot be read: No such file"):
        load_predictor(copy)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.update(sha256="0" * 64), "SHA-256"),
        (lambda m: m.update(sha256="short"), "sha256"),
        (lambda m: m.pop("sha256"), "sha256: Field required"),
        (lambda m: m.update(golden=[]), "golden"),
        (lambda m: m["golden"][0].pop("sentence"), r"golden\.0\.sentence: Field required"),
        (lambda m: m["classes"].reverse(), "classes"),
        (lambda m: m["classes"].pop(), "classes"),
        (lambda m: m["golden"][1].update(prediction="no label"), r"golden\[1\]"),
        (lambda m: m["golden"][0]["probabilities"].pop("fun"), r"golden\[0\]"),
    ],
    ids=[
        "wrong_hash",
        "malformed_hash",
        "no_hash",
        "no_golden",
        "golden_without_sentence",
        "classes_in_other_order",
        "class_missing",
        "golden_label_changed",
        "golden_probability_missing",
    ],
)
def test_manifest_that_does_not_fit_is_refused(
    copy: Path, edit: EditManifest, message: str
) -> None:
    edit_manifest(copy, edit)
    with pytest.raises(ModelError, match=message):
        load_predictor(copy)


def test_manifest_that_is_not_json_is_refused(copy: Path) -> None:
    (copy / "model.json").write_text("{")
    with pytest.raises(ModelError, match=r"model\.json cannot be used: the file: Invalid JSON"):
        load_predictor(copy)


@pytest.mark.parametrize(("change", "accepted"), [(5e-7, True), (2e-6, False), (np.nan, False)])
def test_golden_probability_may_differ_by_a_millionth(
    copy: Path, change: float, accepted: bool
) -> None:
    def shift(manifest: dict[str, Any]) -> None:
        manifest["golden"][0]["probabilities"]["fun"] += change

    edit_manifest(copy, shift)
    if accepted:
        load_predictor(copy)
    else:
        with pytest.raises(ModelError, match=r"golden\[0\]"):
            load_predictor(copy)


def test_model_of_another_scikit_learn_is_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = joblib.load(copy / "model.joblib")
    with monkeypatch.context() as older:
        older.setattr("sklearn.base.__version__", "1.8.0")
        dump(copy, model)
    with pytest.raises(ModelError, match="InconsistentVersionWarning"):
        load_predictor(copy)


@pytest.mark.parametrize("array", ["coef_", "intercept_"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_model_with_numbers_that_are_not_finite_is_refused(
    copy: Path, array: str, value: float
) -> None:
    model = joblib.load(copy / "model.joblib")
    getattr(model[-1], array)[-1] = value
    dump(copy, model)
    with pytest.raises(ModelError, match="not finite"):
        load_predictor(copy)


@pytest.mark.parametrize("thing", [{"a": 1}, [1, 2], "text", None], ids=repr)
def test_pickle_of_something_else_is_refused(copy: Path, thing: object) -> None:
    dump(copy, thing)
    with pytest.raises(ModelError, match="not the pipeline"):
        load_predictor(copy)


def test_bytes_that_are_no_pickle_are_refused(copy: Path) -> None:
    replace_model(copy, b"not a pickle")
    with pytest.raises(ModelError, match="cannot be unpickled"):
        load_predictor(copy)


def change_golden(folder: Path) -> None:
    edit_manifest(folder, lambda m: m["golden"][0].update(prediction="no label"))


def wrong_hash(folder: Path) -> None:
    edit_manifest(folder, lambda m: m.update(sha256="0" * 64))


@pytest.mark.parametrize("spoil", [flip_a_bit, wrong_hash, change_golden])
def test_process_with_a_spoilt_model_ends_with_one_line(
    copy: Path, environment: Callable[..., dict[str, str]], spoil: Callable[[Path], None]
) -> None:
    spoil(copy)
    ended = subprocess.run(
        [sys.executable, "-m", "api.serve"],
        env=environment(copy, VARIANT="v1"),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1
    assert ended.stderr == ""
    (line,) = ended.stdout.splitlines()
    assert json.loads(line)["level"] == "critical"
    assert json.loads(line)["message"].startswith("cannot start: ")
