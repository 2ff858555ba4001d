"""`make use-model`: a pipeline fitted elsewhere becomes a model and its card, or nothing."""

# Neither pyarrow nor MLflow is installed with the project.
# mypy: disable-error-code="import-untyped, import-not-found"

import csv
import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import publish
import use_model
from api.loader import load_predictor
from api.model import read_manifest

ROOT = Path(__file__).resolve().parents[2]
RAW = ["good sun", "bad rain", "good day", "cold rain", "sun and fun", "the day was bad and cold"]
TEXTS = [f"{text} {number}" for number in range(20) for text in RAW]
LABELS = [7 if "good" in text or "sun" in text else 3 for text in TEXTS]


def count_nb() -> Any:
    return make_pipeline(CountVectorizer(), MultinomialNB())


def save(folder: Path, model: Any) -> Path:
    path = folder / "my model.joblib"
    joblib.dump(model, path)
    return path


def samples(folder: Path, labels: list[Any] | None = None, texts: list[str] | None = None) -> Path:
    path = folder / "my samples.csv"
    texts = texts or TEXTS
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["content"] if labels is None else ["content", "sentiment"])
        writer.writerows(
            [text] if labels is None else [text, label]
            for text, label in zip(texts, labels or texts, strict=True)
        )
    return path


def run(model: Path | str, table: Path, out: Path, *more: str) -> int:
    given = ["--model", str(model), "--samples", str(table), "--out", str(out), *more]
    return use_model.main(given)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of numeric labels."""
    folder = tmp_path_factory.mktemp("use model")
    path = save(folder, count_nb().fit(TEXTS, LABELS))
    assert run(path, samples(folder, LABELS), folder / "out") == 0
    return folder / "out"


def test_numeric_labels_are_served_as_text(used: Path) -> None:
    predictor = load_predictor(used)
    assert predictor.kind == "generic"
    assert predictor.predict("good sun").label == "7"
    assert read_manifest(used).classes == ["3", "7"]


def test_the_card_says_what_the_model_costs_and_predicts(used: Path) -> None:
    card = json.loads((used / "model.json").read_text())
    assert card["name"] == "my model"
    assert card["cost"].keys() == {
        "milliseconds_per_sentence", "milliseconds_per_batch", "memory_mb", "start_seconds"
    }  # fmt: skip
    assert all(value > 0 for value in card["cost"].values())
    assert card["reference"]["labels"] == {"3": 0.5, "7": 0.5}
    assert 2 <= len(card["golden"]) <= 18
    assert {golden["prediction"] for golden in card["golden"]} == {"3", "7"}
    assert card["figures"]["samples"] == {"rows": 120, "accuracy": 1.0}
    assert sorted(path.name for path in used.iterdir()) == ["model.joblib", "model.json"]


def test_the_report_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, LABELS)
    path, table = save(tmp_path, fitted), samples(tmp_path, texts=TEXTS[:6])
    assert run(path, table, tmp_path / "out", "--memory", "32m", "--name", "weather") == 0
    lines = capsys.readouterr().out.splitlines()
    found = [line.split(maxsplit=1) for line in lines]
    words = [name for name, _ in found]
    assert words == ["model", "predictor", "speed", "memory", "start", "warning", "warning",
                     "written", "next"]  # fmt: skip
    by_name = dict(reversed(found))
    assert by_name["model"].startswith("weather ")
    assert by_name["model"].endswith(", 2 classes: 3, 7")
    assert by_name["predictor"] == "compiled"
    assert by_name["memory"].endswith(" MB of each replica's 32 MB (api_memory=32m)")
    assert by_name["next"] == "make deploy"
    assert any("6 samples are too few to watch for drift" in line for line in lines)
    assert any("a replica needs more memory: set api_memory to " in line for line in lines)
    assert "reference" not in json.loads((tmp_path / "out/model.json").read_text())


# ---- what is refused -----------------------------------------------------------------------------


def refused(
    capsys: pytest.CaptureFixture[str], model: Path | str, table: Path, out: Path, *more: str
) -> str:
    """Return why it is refused; what `out` held stays as it was."""
    out.mkdir(exist_ok=True)
    (out / "model.joblib").write_text("old model")
    (out / "model.json").write_text("old card")
    assert run(model, table, out, *more) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 1
    assert found.err.startswith("use_model: error: ")
    assert found.err.endswith(". Nothing was changed.\n")
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "model.joblib": "old model", "model.json": "old card"
    }  # fmt: skip
    return found.err


def own_function(text: str) -> str:
    return text.lower()


MODELS: dict[str, tuple[Any, str]] = {
    "no predict_proba": (
        lambda: make_pipeline(TfidfVectorizer(), LinearSVC()).fit(TEXTS, LABELS),
        "LinearSVC has no predict_proba: wrap it in CalibratedClassifierCV"),
    "not fitted": (count_nb, "not fitted"),
    "random": (
        lambda: make_pipeline(CountVectorizer(), DummyClassifier(strategy="stratified")).fit(
            TEXTS, LABELS),
        "answers the same text differently each time"),
    "a tie": (
        lambda: make_pipeline(CountVectorizer(), DummyClassifier(strategy="uniform")).fit(
            TEXTS, LABELS),
        "tie for every sample"),
    "one class": (lambda: count_nb().fit(TEXTS, [1] * len(TEXTS)), "1 classes"),
    "a function of one's own": (
        lambda: make_pipeline(
            CountVectorizer(preprocessor=own_function), MultinomialNB()).fit(TEXTS, LABELS),
        "own_function is not allowed in a model"),
    "something else": (lambda: {"a": 1}, "not a pipeline of scikit-learn"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_cannot_be_served_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = MODELS[name]
    path = save(tmp_path, make())
    assert message in refused(capsys, path, samples(tmp_path), tmp_path / "out")


def test_another_scikit_learn_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = count_nb().fit(TEXTS, LABELS)
    with monkeypatch.context() as older:
        older.setattr("sklearn.base.__version__", "1.5.2")
        path = save(tmp_path, fitted)
    message = refused(capsys, path, samples(tmp_path), tmp_path / "out")
    assert "made with scikit-learn 1.5.2" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is no file"), (b"text", "cannot be unpickled"), ("folder", "is a folder")],
)
def test_a_wrong_file_is_refused(
    content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.joblib"
    if content == "folder":
        path.mkdir()
    elif content:
        path.write_bytes(content)
    assert message in refused(capsys, path, samples(tmp_path), tmp_path / "out")


def test_classes_that_do_not_fit_the_samples_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path, count_nb().fit(TEXTS, LABELS))
    table = samples(tmp_path, ["love"] * len(TEXTS))
    message = refused(capsys, path, table, tmp_path / "out")
    assert "label 'love' is no class of the model, which has '3', '7'" in message


def test_a_model_larger_than_the_memory_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = tmp_path / "small.py"
    wrapper.write_text(
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import try_model, resource, time\n"
        "import numpy, sklearn.pipeline, api.pipeline\n"
        "used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (used + 2**25,) * 2)\n"
        "try_model.limit_memory = limit\n"
        "sys.exit(try_model.main(sys.argv[1:], time.perf_counter()))\n"
    )
    model = count_nb().fit(TEXTS, LABELS)
    model[-1].ballast = np.zeros(2**26)
    path = save(tmp_path, model)
    real = publish.run_apart

    def small(program: list[str], *arguments: Any) -> Any:
        return real([program[0], str(wrapper), str(ROOT / "src"), *program[2:]], *arguments)

    monkeypatch.setattr(use_model, "run_apart", small)
    message = refused(capsys, path, samples(tmp_path), tmp_path / "out")
    assert "more memory than this machine has" in message or "MemoryError" in message


@pytest.mark.parametrize("more", [["--memory", "lots"], ["--read-timeout", "soon"]])
def test_limits_that_cannot_be_read_are_refused(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path, count_nb().fit(TEXTS, LABELS))
    assert "write a " in refused(capsys, path, samples(tmp_path), tmp_path / "out", *more)


def test_golden_texts_are_diverse() -> None:
    generator = random.Random(0)
    texts = [f"text {number} " + "x" * generator.randrange(300) for number in range(500)]
    predictions = [str(number % 5) for number in range(500)]
    rows = [[0.6 + generator.random() / 3, 0.1, 0.1] for _ in texts]
    rows[7] = [0.5, 0.5, 0.0]
    golden, tied = use_model.choose_golden(texts, rows, predictions)
    assert len(golden) == len(set(golden)) == 18
    assert tied == [texts[7]]
    assert texts[7] not in golden
    assert {predictions[texts.index(text)] for text in golden} == set("01234")
    assert min(texts, key=len) in golden
    assert max(texts, key=len) in golden


# ---- MLflow --------------------------------------------------------------------------------------


def test_without_mlflow_the_command_that_installs_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.artifacts", None)
    message = refused(capsys, "models:/weather@live", samples(tmp_path), tmp_path / "out")
    assert "pip install mlflow" in message


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an MLflow server on loopback."""
    if not importlib.util.find_spec("mlflow"):
        pytest.skip("the package mlflow is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    with (
        (tmp_path / "mlflow.log").open("w") as log,
        subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log) as server,
    ):
        for _ in range(600):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            # Until it listens, a minute at most.
            time.sleep(0.1)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield url
        server.terminate()


def test_a_registered_model_is_used(
    registry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    fitted = count_nb().fit(TEXTS, LABELS)
    mlflow.set_experiment("weather")
    with mlflow.start_run():
        for form in ("cloudpickle", "skops"):
            mlflow.sklearn.log_model(
                fitted, name=form, registered_model_name="weather", serialization_format=form
            )
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("weather", "live", "1")
    assert run("models:/weather@live", samples(tmp_path), tmp_path / "out") == 0
    assert json.loads((tmp_path / "out/model.json").read_text())["name"] == "weather"
    assert load_predictor(tmp_path / "out").predict("good sun").label == "7"
    capsys.readouterr()
    for version, message in (("2", 'serialization_format="cloudpickle"'), ("9", "not found")):
        assert run(f"models:/weather/{version}", samples(tmp_path), tmp_path / "out") == 2
        assert message in capsys.readouterr().err
    assert os.environ["MLFLOW_TRACKING_URI"] == registry
