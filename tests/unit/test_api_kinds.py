"""Every kind of pipeline that people bring is served, or refused with what to do."""

import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from api.compile import compile_pipeline
from api.model import GOLDEN_TOLERANCE, Golden, Manifest, ModelError
from api.pipeline import GenericPredictor, class_texts, label_text, open_pipeline
from bench.kinds import COMPILED, GENERIC, KINDS, fit

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = ["I love the day", "", "worried about work", "qzxv"]


@pytest.fixture(scope="module")
def sample() -> tuple[list[str], list[str]]:
    with (ROOT / "data/tweet_emotions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["content"] for row in rows], [row["sentiment"] for row in rows]


def saved(model: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_kind_is_served_or_refused(kind: str, sample: tuple[list[str], list[str]]) -> None:
    expected = KINDS[kind][1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = saved(fit(kind, *sample))
    if expected not in (COMPILED, GENERIC):
        with pytest.raises(ModelError) as refusal:
            open_pipeline(content)
        assert expected in str(refusal.value)
        assert "\n" not in str(refusal.value)
        return
    pipeline = open_pipeline(content)
    classes = class_texts(pipeline)
    rows = pipeline.predict_proba(SENTENCES)
    golden = [
        Golden(
            sentence=sentence,
            prediction=classes[int(row.argmax())],
            probabilities=dict(zip(classes, row.tolist(), strict=True)),
        )
        for sentence, row in zip(SENTENCES, rows, strict=True)
    ]
    manifest = Manifest(name="m", version="1", sha256="0" * 64, classes=classes, golden=golden)
    compiled = compile_pipeline(pipeline, manifest)
    assert (compiled.numbers is not None) == (expected == COMPILED), compiled.reason
    predictor = GenericPredictor(manifest, pipeline, None)
    one_by_one = [predictor.predict(sentence) for sentence in SENTENCES]
    for alone, together, row in zip(
        one_by_one, predictor.predict_all(SENTENCES), rows, strict=True
    ):
        assert alone.label == together.label
        # An iterative step such as NMF stops earlier or later, as its batch has it.
        assert alone.probabilities == pytest.approx(row.tolist(), rel=0, abs=GOLDEN_TOLERANCE)
        assert together.probabilities == pytest.approx(row.tolist(), rel=0, abs=GOLDEN_TOLERANCE)


def test_n_jobs_is_one_everywhere(
    sample: tuple[list[str], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    content = saved(fit("… with n_jobs=-1", *sample))
    with caplog.at_level("INFO"):
        pipeline = open_pipeline(content)
    assert pipeline[-1].n_jobs == 1
    assert "n_jobs of RandomForestClassifier" in caplog.text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("happy", "happy"), ("Happy", "Happy"), (np.str_("x"), "x"), (True, "true"),
        (np.bool_(False), "false"), (7, "7"), (np.int64(-7), "-7"), (7.0, "7"),
        (np.float64(0.5), "0.5"),
    ],
)  # fmt: skip
def test_a_label_of_any_kind_is_text(value: Any, text: str) -> None:
    assert label_text(value) == text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "", "  ", b"x", (1, 2)])
def test_a_label_without_a_text_is_refused(value: Any) -> None:
    with pytest.raises(ModelError, match="name it before fitting"):
        label_text(value)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([0, 1, 2]), ["0", "1", "2"]),
        (np.array([False, True]), ["false", "true"]),
        (np.array(["b", "a"], dtype=object), ["a", "b"]),
    ],
)
def test_the_classes_of_a_model_are_texts(labels: Any, expected: list[str]) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    texts = [f"word{n}" for n in range(len(labels))]
    model = make_pipeline(CountVectorizer(), MultinomialNB()).fit(texts, labels)
    assert class_texts(open_pipeline(saved(model))) == expected


def with_classes(values: Any) -> Any:
    class Fake:
        classes_ = values

    return Fake()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["one"], "1 classes; the service takes 2 to 200"),
        ([str(n) for n in range(201)], "201 classes"),
        ([1, "1"], "two classes of the model are '1' as text"),
        ([np.array([0, 1]), np.array([0, 1])], "several labels at once"),
    ],
)
def test_classes_that_cannot_be_served_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        class_texts(with_classes(values))


def test_a_model_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(ModelError, match="not fitted"):
        open_pipeline(saved(KINDS["CountVectorizer, MultinomialNB"][0]()))


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], "text", None])
def test_something_else_than_a_model_is_refused(value: Any) -> None:
    with pytest.raises(ModelError, match="not a pipeline of scikit-learn"):
        open_pipeline(saved(value))


@pytest.mark.parametrize("content", [b"", b"text", json.dumps({}).encode(), b"PK\x03\x04zip"])
def test_something_else_than_a_pickle_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"model\.joblib cannot be unpickled"):
        open_pipeline(content)


def test_a_probability_that_is_not_finite_is_never_served(compiled: Any) -> None:
    class Fake:
        def predict_proba(self, texts: list[str]) -> Any:
            return np.full((len(texts), 13), np.nan)

    with pytest.raises(ValueError, match="not finite"):
        GenericPredictor(compiled.manifest, Fake(), None).predict("a text")
