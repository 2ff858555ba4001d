"""Only the very model that the manifest describes is ever served."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.pipeline import Pipeline

from api.compile import compile_model
from api.compiled import DIFFERS
from api.loader import load_predictor
from api.model import ModelError, Predictor, agrees

EditManifest = Callable[[dict[str, Any]], object]


@pytest.fixture(autouse=True)
def _compile_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each model would take a second; `test_process_…` starts some."""
    monkeypatch.setattr("api.loader._compile", compile_model)


@pytest.fixture
def copy(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the model to spoil, not compiled."""
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


def test_the_model_loads_and_agrees_with_every_golden_sentence(copy: Path) -> None:
    predictor = load_predictor(copy)
    assert (predictor.kind, predictor.reason) == ("compiled", None)
    assert all(agrees(predictor, golden) for golden in predictor.manifest.golden)


def test_probabilities_are_plain_floats(compiled: Predictor, generic: Predictor) -> None:
    for predictor in (compiled, generic):
        prediction = predictor.predict("I love you")
        assert {type(p) for p in prediction.probabilities} == {float}
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
    with pytest.raises(ModelError, match=r"scikit-learn 1\.8\.0, and the service has"):
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
    with pytest.raises(ModelError, match="not a pipeline of scikit-learn"):
        load_predictor(copy)


def test_bytes_that_are_no_pickle_are_refused(copy: Path) -> None:
    replace_model(copy, b"not a pickle")
    with pytest.raises(ModelError, match="cannot be unpickled"):
        load_predictor(copy)


# --- what a pickle may name -------------------------------------------------------------------


class Payload:
    """Creates the file `canary` when it is unpickled without a list of allowed names."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._canary,)


def with_payload(folder: Path, canary: Path) -> None:
    """A pipeline with a live payload beside its numbers."""
    model = joblib.load(folder / "model.joblib")
    model[-1].note = Payload(canary)
    dump(folder, model)


def with_payload_in_an_array_of_objects(folder: Path, canary: Path) -> None:
    """As above, in an array that joblib writes as a pickle of its own inside the pickle."""
    model = joblib.load(folder / "model.joblib")
    model[-1].classes_ = np.array([*model.classes_[:-1], Payload(canary)], dtype=object)
    dump(folder, model)


@pytest.mark.parametrize("hide", [with_payload, with_payload_in_an_array_of_objects])
def test_payload_in_a_model_whose_hash_is_right_never_runs(
    copy: Path, tmp_path: Path, hide: Callable[[Path, Path], None]
) -> None:
    canary = tmp_path / "it-ran"
    hide(copy, canary)
    with pytest.raises(ModelError, match=r"pathlib[\w.]* is not allowed"):
        load_predictor(copy)
    assert not canary.exists()
    # It is a live one: joblib itself runs it.
    with suppress(Exception):
        joblib.load(copy / "model.joblib")
    assert canary.exists()


def test_labels_in_an_array_of_objects_are_served(copy: Path) -> None:
    """As a model has them that was trained on a column of pandas."""
    model = joblib.load(copy / "model.joblib")
    model[-1].classes_ = model.classes_.astype(object)
    dump(copy, model)
    assert load_predictor(copy).kind == "compiled"


# --- the file of compiled numbers -------------------------------------------------------------


@pytest.fixture
def image(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the model as an image holds it, compiled."""
    shutil.copytree(model_dir, tmp_path / "image")
    return tmp_path / "image"


def test_compiled_numbers_are_used_without_compiling(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.loader._compile", lambda folder: pytest.fail("compiled again"))
    assert load_predictor(image).kind == "compiled"


@pytest.mark.parametrize("place", [0.0001, 0.5, 0.9999])
def test_damaged_compiled_numbers_are_refused(image: Path, place: float) -> None:
    path = image / "compiled.jsonl"
    content = bytearray(path.read_bytes())
    content[200 + int(place * (len(content) - 200))] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"compiled\.jsonl is damaged"):
        load_predictor(image)


@pytest.mark.parametrize("content", [b"", b"{}\n{}", b"[]", b"\xff\n"], ids=repr)
def test_compiled_numbers_without_a_head_are_refused(image: Path, content: bytes) -> None:
    (image / "compiled.jsonl").write_bytes(content)
    with pytest.raises(ModelError, match=r"compiled\.jsonl is damaged"):
        load_predictor(image)


def test_numbers_compiled_of_another_model_are_not_used(image: Path) -> None:
    model = joblib.load(image / "model.joblib")
    dump(image, Pipeline(model.steps, verbose=True))
    before = load_predictor(image)
    assert (before.kind, before.predict("I love you").label) == ("compiled", "love")
    model[-1].intercept_ += np.arange(13)
    dump(image, model)
    with pytest.raises(ModelError, match=r"golden\[0\]"):
        load_predictor(image)


# --- what is not compiled ---------------------------------------------------------------------


def test_compiled_model_that_answers_otherwise_leaves_the_generic_one_to_serve(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api import compile

    original = compile.extract

    def slightly_wrong(*arguments: Any) -> Any:
        numbers = original(*arguments)
        numbers.intercept[0] += 1e-9
        return numbers

    monkeypatch.setattr(compile, "extract", slightly_wrong)
    predictor = load_predictor(copy)
    assert (predictor.kind, predictor.reason) == ("generic", DIFFERS)
    assert predictor.predict("I love you").label == "love"


@pytest.mark.parametrize("spoil", ["missing", "shifted"])
def test_compiled_numbers_that_answer_otherwise_are_refused(image: Path, spoil: str) -> None:
    """The file is whole and of this model, and its numbers are not: never to be served."""
    from api.compiled import read_compiled, write_compiled
    from api.model import read_manifest

    path, manifest = image / "compiled.jsonl", read_manifest(image)
    found = read_compiled(path.read_bytes(), manifest)
    assert found is not None
    assert found.numbers is not None
    if spoil == "missing":
        del found.numbers.terms["love"]
    else:
        found.numbers.intercept[0] += 1e-9
    path.write_bytes(write_compiled(found, manifest))
    with pytest.raises(ModelError, match="does not answer as the pipeline did"):
        load_predictor(image)


# --- ten mutants, each in a process of its own kind ------------------------------------------


def change_golden(folder: Path) -> None:
    edit_manifest(folder, lambda m: m["golden"][0].update(prediction="no label"))


def wrong_hash(folder: Path) -> None:
    edit_manifest(folder, lambda m: m.update(sha256="0" * 64))


def remove(folder: Path) -> None:
    (folder / "model.joblib").unlink()


def empty(folder: Path) -> None:
    replace_model(folder, b"")


def truncate(folder: Path) -> None:
    content = (folder / "model.joblib").read_bytes()
    replace_model(folder, content[: len(content) // 2])


def pickle_by_another_version(folder: Path) -> None:
    model = joblib.load(folder / "model.joblib")
    with pytest.MonkeyPatch.context() as older:
        older.setattr("sklearn.base.__version__", "1.8.0")
        dump(folder, model)


def hide_a_payload(folder: Path) -> None:
    with_payload(folder, folder / "it-ran")


def hide_a_payload_in_an_array(folder: Path) -> None:
    with_payload_in_an_array_of_objects(folder, folder / "it-ran")


def swap_two_classes(folder: Path) -> None:
    model = joblib.load(folder / "model.joblib")
    model[-1].classes_[[0, 1]] = model.classes_[[1, 0]]
    dump(folder, model)


def drop_a_column(folder: Path) -> None:
    model = joblib.load(folder / "model.joblib")
    model[-1].coef_ = model[-1].coef_[:, :-1]
    dump(folder, model)


def put_nan_into_the_weights(folder: Path) -> None:
    model = joblib.load(folder / "model.joblib")
    model[-1].coef_[3, 7] = np.nan
    dump(folder, model)


MUTANTS: dict[Callable[[Path], None], str] = {
    remove: "model.joblib cannot be read",
    empty: "cannot be unpickled",
    truncate: "cannot be unpickled",
    flip_a_bit: "does not have the SHA-256",
    pickle_by_another_version: "fit it again with that release",
    hide_a_payload: "is not allowed",
    hide_a_payload_in_an_array: "is not allowed",
    swap_two_classes: "classes are not those",
    drop_a_column: "cannot answer a text",
    put_nan_into_the_weights: "not finite",
    change_golden: "golden[0]",
}


@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda mutate: mutate.__name__)
def test_mutant_is_never_loaded(copy: Path, mutate: Callable[[Path], None]) -> None:
    mutate(copy)
    with pytest.raises(ModelError) as refusal:
        load_predictor(copy)
    assert MUTANTS[mutate] in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (copy / "it-ran").exists()


@pytest.mark.parametrize("spoil", [flip_a_bit, hide_a_payload_in_an_array, change_golden])
def test_process_with_a_spoilt_model_ends_with_one_line(
    copy: Path, environment: Callable[..., dict[str, str]], spoil: Callable[[Path], None]
) -> None:
    spoil(copy)
    ended = subprocess.run(
        [sys.executable, "-m", "api.serve"],
        env=environment(copy, VARIANT="v1"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr == ""
    (line,) = ended.stdout.splitlines()
    assert json.loads(line)["level"] == "critical"
    assert json.loads(line)["message"].startswith("cannot start: ")
    assert not (copy / "it-ran").exists()


def test_process_compiles_by_itself_what_no_image_build_has_compiled(
    copy: Path, start_service: Callable[..., Any]
) -> None:
    service = start_service(copy, "v1")
    assert service.log()[0]["message"].endswith("loaded, predictor compiled")
    assert not (copy / "compiled.jsonl").exists()


def test_serving_a_compiled_model_imports_neither_numpy_nor_scikit_learn(
    model_dir: Path, environment: Callable[..., dict[str, str]]
) -> None:
    code = "import sys, api.v2.main; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(model_dir),
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"numpy", "scipy", "sklearn", "joblib"} & set(ended.stdout.split())
