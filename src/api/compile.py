"""Compiles a model to plain numbers, once it has proved to be right: `python -m api.compile`.

    python -m api.compile FOLDER              to standard output
    python -m api.compile FOLDER --write      to FOLDER/compiled.jsonl

It is the one place where the compiled numbers are held against scikit-learn. A model that cannot
be compiled, or that answers otherwise when it is, is left to the generic predictor: the output
then says why. A model that must not be served at all ends it with one line and status 1.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from api.compiled import DIFFERS, Compiled, CompiledPredictor, Numbers, write_compiled
from api.model import (
    COMPILED_FILE,
    Manifest,
    ModelError,
    check_golden,
    read_manifest,
    read_model,
)
from api.pipeline import GenericPredictor, load_pipeline, not_the_pipeline


class NotCompilable(Exception):
    """The pipeline holds something that `Numbers` cannot say; the message names it."""


def compile_model(model_dir: Path) -> bytes:
    """Return the content of `compiled.jsonl` for the model in `model_dir`.

    Raises:
        ModelError: the model must not be served, compiled or not.
    """
    manifest = read_manifest(model_dir)
    pipeline = load_pipeline(read_model(model_dir, manifest), manifest)
    try:
        check_golden(GenericPredictor(manifest, pipeline, None))
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise not_the_pipeline(error) from None
    return write_compiled(compile_pipeline(pipeline, manifest), manifest)


def compile_pipeline(pipeline: Any, manifest: Manifest) -> Compiled:
    """Compile a pipeline that was found right, and hold the outcome against it."""
    try:
        numbers = extract(pipeline, [golden.sentence for golden in manifest.golden])
        CompiledPredictor(manifest, numbers)
    except NotCompilable as error:
        return Compiled(None, str(error))
    except ModelError:
        return Compiled(None, DIFFERS)
    return Compiled(numbers, None)


def extract(pipeline: Any, sentences: list[str]) -> Numbers:
    """Take the numbers out of a fitted `TfidfVectorizer` and `LogisticRegression`.

    Args:
        pipeline: the two in a scikit-learn pipeline.
        sentences: those whose probabilities are recorded beside the numbers.

    Raises:
        NotCompilable: it is another pipeline, or an option is set that is not known here.
    """
    steps = [step for _, step in getattr(pipeline, "steps", ())]
    if [type(step) for step in steps] != [TfidfVectorizer, LogisticRegression]:
        raise NotCompilable("the pipeline is not a TfidfVectorizer with a LogisticRegression")
    vectorizer, classifier = steps
    _check_options(vectorizer)
    idf = vectorizer.idf_ if vectorizer.use_idf else np.ones(len(vectorizer.vocabulary_))
    weights, intercept = classifier.coef_, classifier.intercept_
    two_classes = len(weights) == 1
    if two_classes:
        # scikit-learn keeps the logit of the second class only; the first one's is its opposite.
        weights, intercept = np.vstack([-weights, weights]), np.append(-intercept, intercept)
    rows = np.column_stack([idf**2, (weights * idf).T]).tolist()
    return Numbers(
        token_pattern=vectorizer.token_pattern,
        lowercase=vectorizer.lowercase,
        stop_words=sorted(vectorizer.get_stop_words() or ()),
        max_n=int(vectorizer.ngram_range[1]),
        term_frequency=(
            "binary" if vectorizer.binary else "sublinear" if vectorizer.sublinear_tf else "count"
        ),
        link="sigmoid" if two_classes else "softmax",
        terms={term: rows[index] for term, index in vectorizer.vocabulary_.items()},
        intercept=intercept.tolist(),
        golden=pipeline.predict_proba(sentences).tolist(),
    )


def _check_options(vectorizer: Any) -> None:
    expected = {
        "input": "content",
        "analyzer": "word",
        "norm": "l2",
        "preprocessor": None,
        "strip_accents": None,
        "tokenizer": None,
    }
    for option, value in expected.items():
        if getattr(vectorizer, option) != value:
            raise NotCompilable(f"the vectorizer's option {option} is not {value!r}")
    if vectorizer.ngram_range[0] != 1:
        raise NotCompilable("the vectorizer's n-grams do not begin at 1")


def main(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    folder = Path(arguments[0])
    try:
        content = compile_model(folder)
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments[1:] == ["--write"]:
        (folder / COMPILED_FILE).write_bytes(content)
    else:
        sys.stdout.buffer.write(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
