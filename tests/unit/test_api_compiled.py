"""The compiled predictor answers as scikit-learn does, whatever the text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline

from api.compile import compile_pipeline
from api.compiled import CompiledPredictor, read_compiled, write_compiled
from api.model import Golden, Manifest, Predictor

WORDS = (
    "I love hate you so happy sad the the the day not good don't ice cream morning work @sam "
    "!!! ... :) <3 miss ?! lol 123 İstanbul ß ﬁ née 愛 \u0301 \u200d 🎉"
).split()
texts = st.one_of(
    st.text(min_size=1, max_size=300),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join),
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), min_size=1).map("".join),
).filter(bool)


def assert_alike(compiled: Predictor, pipeline: Any, sentence: str) -> None:
    row = pipeline.predict_proba([sentence])[0]
    ours = compiled.predict(sentence)
    assert np.abs(np.array(ours.probabilities) - row).max() <= 1e-12
    assert ours.label == pipeline.classes_[row.argmax()]


@settings(max_examples=300, deadline=None)
@given(sentence=texts)
def test_compiled_model_answers_any_text_as_the_pipeline(
    compiled: Predictor, pipeline: Any, sentence: str
) -> None:
    assert_alike(compiled, pipeline, sentence)


@settings(max_examples=200, deadline=None)
@given(sentence=texts)
def test_contributions_and_intercept_sum_to_the_logit(
    compiled: Predictor, pipeline: Any, sentence: str
) -> None:
    why = compiled.explain(sentence)
    assert why is not None
    total = why.intercept + sum(value for _, value in why.contributions)
    assert total == pytest.approx(why.logit, rel=0, abs=1e-12)
    assert why.logit == pytest.approx(pipeline.decision_function([sentence]).max(), abs=1e-12)
    sizes = [abs(value) for _, value in why.contributions]
    assert sizes == sorted(sizes, reverse=True)


def test_contribution_is_weight_times_tfidf(compiled: Predictor, pipeline: Any) -> None:
    sentence = "I love love love the day"
    why, vectorizer, classifier = compiled.explain(sentence), pipeline[0], pipeline[-1]
    assert why is not None
    row = vectorizer.transform([sentence])
    weights = classifier.coef_[list(pipeline.classes_).index("love")]
    names = vectorizer.get_feature_names_out()
    expected = {names[i]: weights[i] * v for i, v in zip(row.indices, row.data, strict=True)}
    assert dict(why.contributions) == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize(
    ("sentence", "coverage"),
    [
        ("I love the day", 1),
        ("I love qzxvwr", 2 / 3),
        ("qzxv wrtpl kkjhgf", 0),
        ("love qzxv love wrtpl", 0.5),  # each token counts, also a repeated one
        ("\u00a0 \u3000 #", 0),  # no token at all
    ],
)
def test_coverage_is_the_share_of_known_tokens(
    compiled: Predictor, sentence: str, coverage: float
) -> None:
    assert compiled.predict(sentence).coverage == pytest.approx(coverage)


def test_text_without_a_known_term_gets_what_the_intercepts_say(
    compiled: Predictor, pipeline: Any
) -> None:
    assert_alike(compiled, pipeline, "qzxv wrtpl kkjhgf")
    why = compiled.explain("qzxv wrtpl kkjhgf")
    assert why is not None
    assert (why.contributions, why.logit) == ([], why.intercept)


# --- other pipelines --------------------------------------------------------------------------

SENTENCES = (
    "good day sun|bad rain day|good good sun sun|rain rain bad cold|the news of the day|the cold "
    "news|Good Sun!|sad cold rain|news news news"
).split("|")
LABELS = "joy gloom joy gloom news news joy gloom news".split()


def fit(classifier: Any, labels: list[str] = LABELS, **options: Any) -> Any:
    return make_pipeline(TfidfVectorizer(**options), classifier).fit(SENTENCES, labels)


def manifest_of(pipeline: Any) -> Manifest:
    classes = pipeline.classes_.tolist()
    rows = pipeline.predict_proba(SENTENCES)
    return Manifest(
        name="other",
        version="0" * 12,
        sha256="0" * 64,
        classes=classes,
        golden=[
            Golden(
                sentence=sentence,
                prediction=classes[int(row.argmax())],
                probabilities=dict(zip(classes, row.tolist(), strict=True)),
            )
            for sentence, row in zip(SENTENCES, rows, strict=True)
        ],
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ngram_range": (1, 3)},
        {"stop_words": "english"},
        {"stop_words": ["good", "day"], "ngram_range": (1, 2)},
        {"sublinear_tf": True},
        {"binary": True},
        {"use_idf": False},
        {"smooth_idf": False},
        {"lowercase": False},
        {"token_pattern": r"(\w)\w+"},
        {"max_features": 4, "ngram_range": (1, 2)},
        {"vocabulary": ["sun", "rain", "news"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("classes", [2, 3])
def test_usual_options_of_the_vectorizer_are_compiled(
    options: dict[str, Any], classes: int
) -> None:
    labels = LABELS if classes == 3 else ["joy" if label == "joy" else "other" for label in LABELS]
    pipeline = fit(LogisticRegression(), labels, **options)
    manifest = manifest_of(pipeline)
    compiled = compile_pipeline(pipeline, manifest)
    assert compiled.reason is None
    read = read_compiled(write_compiled(compiled, manifest), manifest)
    assert read is not None
    assert read.numbers is not None
    predictor = CompiledPredictor(manifest, read.numbers)
    for sentence in [*SENTENCES, "nothing known", "good Good GOOD sun rain rain the of"]:
        assert_alike(predictor, pipeline, sentence)


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        (fit(MultinomialNB()), "not a TfidfVectorizer with a LogisticRegression"),
        (fit(LogisticRegression(), analyzer="char"), "analyzer"),
        (fit(LogisticRegression(), norm=None), "norm"),
        (fit(LogisticRegression(), strip_accents="unicode"), "strip_accents"),
        (fit(LogisticRegression(), tokenizer=str.split, token_pattern=None), "tokenizer"),
        (fit(LogisticRegression(), ngram_range=(2, 2)), "begin at 1"),
        (fit(LogisticRegression(), dtype=np.float32), "differs from predict_proba"),
    ],
    ids=["naive_bayes", "characters", "norm", "accents", "tokenizer", "bigrams", "float32"],
)
def test_what_cannot_be_compiled_says_why(pipeline: Any, reason: str) -> None:
    compiled = compile_pipeline(pipeline, manifest_of(pipeline))
    assert compiled.numbers is None
    assert compiled.reason is not None
    assert reason in compiled.reason


def test_other_pipeline_is_served_by_the_generic_predictor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    import joblib

    from api.compile import compile_model
    from api.loader import load_predictor

    pipeline: Pipeline = fit(MultinomialNB())
    joblib.dump(pipeline, tmp_path / "model.joblib")
    digest = hashlib.sha256((tmp_path / "model.joblib").read_bytes()).hexdigest()
    manifest = manifest_of(pipeline).model_copy(update={"sha256": digest})
    (tmp_path / "model.json").write_text(manifest.model_dump_json())
    monkeypatch.setattr("api.loader._compile", compile_model)
    predictor = load_predictor(tmp_path)
    assert (predictor.kind, predictor.reason is None) == ("generic", False)
    assert predictor.predict("good sun").label == "joy"
    assert predictor.predict("good sun").coverage is None
    assert predictor.explain("good sun") is None
