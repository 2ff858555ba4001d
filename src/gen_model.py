"""Trains a model: a table of labelled sentences in, `model.joblib` and `model.json` out.

    python src/gen_model.py --data data/tweet_emotions.csv --out model

The steps, in order:

1. read the table and drop what would make the judgement dishonest (repeated sentences);
2. judge the pipeline beside a usual one: repeated cross-validation on four fifths of the rows,
   then once on the last fifth, which nothing before has seen;
3. fit the pipeline on all rows;
4. write the model and its card, and swap both in.

Whatever fails, the files that were there before stay as they were.
"""

# scikit-learn, SciPy and joblib ship no types.
# mypy: disable-error-code="import-untyped, import-not-found"

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import RepeatedStratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

import labels as label_review
from api.model import MANIFEST_FILE, MODEL_FILE
from publish import describe_libraries, publish
from table import LABEL_COLUMN, TEXT_COLUMN, InputError, Table, read_table

ROOT = Path(__file__).resolve().parents[1]

EXIT_OK = 0
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

FINAL_SHARE = 0.2
"""Share of the rows that is kept for one last judgement."""

MIN_CLASSES = 2
MIN_ROWS_PER_CLASS = 5
"""Fewest rows of a class: one for the last fifth, four for cross-validation."""

CONFIDENCE = 0.95

TERM_PATTERN = (
    # The first seven letters of a word, so that "disappointed" and "disappointing" are one term.
    # Not of an @name: it says who is addressed, not what is felt.
    r"(?<![@\w])(?<!\w')\w(?:'?\w){0,6}"
    r"|<3|[:;=][-o']?(?:[()\[\]/\\|*]|[dp3]\b)"  # hearts and emoticons
    r"|[!?]+|\.{2,}"  # emphasis, doubt, trailing off
)
"""What counts as a term, applied to lower-case text."""

RARITY_EXPONENT = 0.3
"""A class of n rows weighs n ** -RARITY_EXPONENT: 0 is no weighting, 1 is "balanced"."""

METRICS = ("log_loss", "macro_f1", "accuracy")


class TrainingError(InputError):
    """Training cannot go on; the message says in one line why, and what to do."""


@dataclass(frozen=True)
class Options:
    """How a model is trained and judged."""

    seed: int
    folds: int
    repeats: int
    jobs: int
    labels: label_review.Choice


# --- reading ------------------------------------------------------------------------------------


def drop_repeats(table: Table) -> Table:
    """Keep each sentence once, in the order of its first row.

    Sentences that differ only in case and white space count as the same: a copy in training
    would give away the answer in judging. Where the copies carry different labels the most
    frequent one wins; on a tie nobody knows the right one, and the sentence is left out.
    """
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(table.texts):
        groups.setdefault(" ".join(text.casefold().split()), []).append(index)
    texts: list[str] = []
    labels: list[str] = []
    for indices in groups.values():
        label = _majority([table.labels[index] for index in indices])
        if label is not None:
            texts.append(table.texts[indices[0]])
            labels.append(label)
    return Table(texts, labels, table.rows, table.sha256)


def _majority(labels: list[str]) -> str | None:
    """Return the most frequent label, or None on a tie."""
    first, *others = Counter(labels).most_common(2)
    return None if others and others[0][1] == first[1] else first[0]


def check_classes(table: Table) -> None:
    """Refuse a table that cannot be split by class.

    Raises:
        TrainingError: fewer than two classes, or a class with too few rows.
    """
    counts = Counter(table.labels)
    if len(counts) < MIN_CLASSES:
        raise TrainingError(
            f"the data holds {len(counts)} class(es) ({', '.join(counts) or 'none'});"
            " a classifier needs two or more: add sentences with other labels"
        )
    label, rows = min(counts.items(), key=lambda item: (item[1], item[0]))
    if rows < MIN_ROWS_PER_CLASS:
        raise TrainingError(
            f"class '{label}' has {rows} row(s) without repeats and needs {MIN_ROWS_PER_CLASS}"
            " to be split for judging; add sentences or remove the class"
        )


# --- pipelines ----------------------------------------------------------------------------------


def build_pipeline() -> Pipeline:
    """Return the unfitted pipeline of this project; `fit` weights its rows."""
    return Pipeline(
        [
            (
                "tfidf",
                TfidfVectorizer(
                    token_pattern=TERM_PATTERN,
                    ngram_range=(1, 2),
                    min_df=5,
                    sublinear_tf=True,
                    dtype=np.float64,
                ),
            ),
            (
                "clf",
                LogisticRegression(C=1.0, max_iter=1000),
            ),
        ]
    )


def build_usual_pipeline() -> Pipeline:
    """Return the unfitted pipeline most examples use: what ours has to beat."""
    return Pipeline(
        [
            (
                "tfidf",
                TfidfVectorizer(max_features=10000, ngram_range=(1, 2), stop_words="english"),
            ),
            ("clf", LogisticRegression(max_iter=1000)),
        ]
    )


def rarity_weights(labels: Sequence[str]) -> dict[str, float]:
    """Return a weight per class: rare classes weigh more, the mean over all rows is 1.

    Full balancing finds the rare classes but ruins the probabilities; a small exponent gains
    macro-F1 at a small price in log-loss.
    """
    counts = Counter(labels)
    raw = {label: float(rows) ** -RARITY_EXPONENT for label, rows in sorted(counts.items())}
    mean = sum(raw[label] * rows for label, rows in counts.items()) / len(labels)
    return {label: weight / mean for label, weight in raw.items()}


def fit(
    pipeline: Pipeline, texts: Sequence[str], labels: Sequence[str], *, weighted: bool = False
) -> Pipeline:
    """Fit `pipeline` in place and return it; `weighted` gives rare classes more weight.

    Raises:
        TrainingError: no term is frequent enough, or the solver does not converge.
    """
    weights = rarity_weights(labels)
    # By row: scikit-learn 1.9 looks for a class_weight of the label "1" under the number 1.
    rows = {"clf__sample_weight": [weights[label] for label in labels]} if weighted else {}
    try:
        # One thread: sums in another order differ in the last digits, and so would the file.
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            # A plain string array: an array of objects would be pickled as foreign code.
            pipeline.fit(texts, np.array(labels, dtype=np.str_), **rows)
            # A memory address (of the stop words); pickled, it would change the file at each run.
            vars(pipeline["tfidf"]).pop("_stop_words_id", None)
    except ConvergenceWarning:
        raise TrainingError(
            "the solver did not converge; look for damaged sentences in the data"
        ) from None
    except ValueError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        advice = "; add more sentences" if "no terms remain" in reason else ""
        raise TrainingError(f"the pipeline cannot be fitted: {reason}{advice}") from None
    return pipeline


# --- judging ------------------------------------------------------------------------------------


def score(pipeline: Pipeline, texts: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Return each of METRICS on held-out rows; log-loss in nats, the others from 0 to 1."""
    probabilities = pipeline.predict_proba(texts)
    predictions = pipeline.classes_[probabilities.argmax(axis=1)]
    return {
        "log_loss": float(log_loss(labels, probabilities, labels=pipeline.classes_)),
        "macro_f1": float(f1_score(labels, predictions, average="macro", zero_division=0)),
        "accuracy": float(accuracy_score(labels, predictions)),
    }


def _pick(items: Sequence[str], indices: NDArray[np.intp]) -> list[str]:
    return [items[index] for index in indices]


def _judge_fold(
    table: Table, train: NDArray[np.intp], test: NDArray[np.intp]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the scores of our pipeline and of the usual one, fitted and judged on one fold."""
    texts, labels = _pick(table.texts, train), _pick(table.labels, train)
    held_out = _pick(table.texts, test), _pick(table.labels, test)
    ours = fit(build_pipeline(), texts, labels, weighted=True)
    usual = fit(build_usual_pipeline(), texts, labels)
    return score(ours, *held_out), score(usual, *held_out)


def cross_validate(table: Table, options: Options) -> dict[str, Any]:
    """Judge both pipelines on the same folds of `table`.

    Returns each one's mean scores, and the gain of ours with a confidence interval. The number
    of folds shrinks to the rows of the rarest class.
    """
    folds = min(options.folds, *Counter(table.labels).values())
    if folds < options.folds:
        _say(f"{folds} folds, not {options.folds}: the rarest class has {folds} rows for them")
    splitter = RepeatedStratifiedKFold(
        n_splits=folds, n_repeats=options.repeats, random_state=options.seed
    )
    splits = list(splitter.split(table.texts, table.labels))
    results = joblib.Parallel(n_jobs=options.jobs, return_as="generator")(
        joblib.delayed(_judge_fold)(table, train, test) for train, test in splits
    )
    ours: list[dict[str, float]] = []
    usual: list[dict[str, float]] = []
    for number, (our_scores, usual_scores) in enumerate(results, start=1):
        ours.append(our_scores)
        usual.append(usual_scores)
        _say(f"fold {number}/{len(splits)}: {_line(our_scores)} (usual: {_line(usual_scores)})")
    test_to_train = 1 / (folds - 1)
    return {
        "folds": folds,
        "repeats": options.repeats,
        "model": _mean_scores(ours),
        "usual": _mean_scores(usual),
        "gain": {
            metric: corrected_interval(_gains(metric, ours, usual), test_to_train)
            for metric in METRICS
        },
    }


def _mean_scores(scores: list[dict[str, float]]) -> dict[str, float]:
    return {metric: float(np.mean([row[metric] for row in scores])) for metric in METRICS}


def _gains(metric: str, ours: list[dict[str, float]], usual: list[dict[str, float]]) -> list[float]:
    """Return by how much ours is better in each fold: above 0 is better, for log-loss too."""
    sign = -1.0 if metric == "log_loss" else 1.0
    return [sign * (a[metric] - b[metric]) for a, b in zip(ours, usual, strict=True)]


def corrected_interval(gains: Sequence[float], test_to_train: float) -> dict[str, float]:
    """Return mean, low and high of the paired `gains` of repeated cross-validation.

    The training sets of the folds overlap, so the gains are not independent and the plain t
    interval is too narrow. Nadeau and Bengio (2003, "Inference for the Generalization Error")
    add the ratio of test rows to training rows to the variance's factor 1/n.
    """
    count = len(gains)
    mean = float(np.mean(gains))
    variance = float(np.var(gains, ddof=1))
    half = float(student_t.ppf((1 + CONFIDENCE) / 2, count - 1)) * float(
        np.sqrt((1 / count + test_to_train) * variance)
    )
    return {"mean": mean, "low": mean - half, "high": mean + half}


def judge(table: Table, options: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    """Judge the pipeline, and return its scores and a reference for its later use.

    The reference is of the last fifth, which the judged pipeline has not seen: what a server should
    see while its callers write like the authors of the training data. `labels` is the share of each
    label among the predictions, `coverage` the share of the sentences of whose tokens at most that
    share is known; all from 0 to 1.
    """
    development, final = train_test_split(
        np.arange(len(table.labels)),
        test_size=FINAL_SHARE,
        stratify=table.labels,
        random_state=options.seed,
    )
    texts, labels = _pick(table.texts, development), _pick(table.labels, development)
    crossed = cross_validate(Table(texts, labels, table.rows, table.sha256), options)

    held_out = _pick(table.texts, final), _pick(table.labels, final)
    ours = fit(build_pipeline(), texts, labels, weighted=True)
    usual = fit(build_usual_pipeline(), texts, labels)
    predictions = ours.predict(held_out[0])
    by_label = f1_score(
        held_out[1], predictions, labels=ours.classes_, average=None, zero_division=0
    )
    last: dict[str, Any] = {
        "rows": len(final),
        "model": score(ours, *held_out),
        "usual": score(usual, *held_out),
        "model_f1_by_label": dict(zip(ours.classes_.tolist(), by_label.tolist(), strict=True)),
    }
    _say(f"last fifth: {_line(last['model'])} (usual: {_line(last['usual'])})")
    figures = {
        "seed": options.seed,
        "confidence": CONFIDENCE,
        "cross_validation": {"rows": len(development), **crossed},
        "final_fifth": last,
    }
    return figures, {
        "labels": _label_mix(predictions, ours.classes_),
        "coverage": _coverage(ours["tfidf"], held_out[0]),
    }


def _label_mix(predictions: NDArray[np.str_], classes: NDArray[np.str_]) -> dict[str, float]:
    counts = Counter(predictions.tolist())
    return {label: counts[label] / len(predictions) for label in classes.tolist()}


def _coverage(tfidf: TfidfVectorizer, texts: Sequence[str]) -> dict[str, float]:
    """Return the cumulative share of the texts by the share of their tokens that are terms."""
    preprocess, tokenize = tfidf.build_preprocessor(), tfidf.build_tokenizer()
    shares = []
    for text in texts:
        known = [token in tfidf.vocabulary_ for token in tokenize(preprocess(text))]
        shares.append(float(np.mean(known)) if known else 0.0)
    tenths = [tenth / 10 for tenth in range(11)]
    return {str(bound): float(np.mean(np.asarray(shares) <= bound)) for bound in tenths}


# --- card ---------------------------------------------------------------------------------------


def describe_data(table: Table, path: Path) -> dict[str, Any]:
    """Return what the card says about the data; `labels` counts the rows used."""
    return {
        "file": path.name,
        "sha256": table.sha256,
        "rows": table.rows,
        "rows_used": len(table.texts),
        "labels": dict(sorted(Counter(table.labels).items())),
    }


def describe_pipeline(pipeline: Pipeline) -> dict[str, Any]:
    """Return each step's class and the parameters that differ from its defaults."""
    described: dict[str, Any] = {}
    for name, step in pipeline.steps:
        defaults = type(step)().get_params()
        changed = {key: value for key, value in step.get_params().items() if value != defaults[key]}
        described[name] = {"class": type(step).__name__, **changed}
    described["tfidf"]["terms"] = len(pipeline["tfidf"].vocabulary_)
    return described


# --- command line -------------------------------------------------------------------------------


def train(read: Table, data: Path, out: Path, options: Options) -> None:
    """Train on the table that was read from `data`; put the model and its card into `out`.

    Raises:
        InputError: see the message; the files in `out` are as before.
    """
    reviewed, warned = label_review.review(read, options.labels)
    for line in warned:
        _say(f"warning: {line}. LABELS=merge corrects them, LABELS=refuse stops.")
    table = drop_repeats(reviewed)
    _say(f"{data}: {read.rows} rows, {len(table.texts)} of them used")
    _say(f"classes: {label_review.counted(table)}")
    check_classes(table)
    figures, reference = judge(table, options)
    _say(f"fitting on all {len(table.texts)} rows")
    pipeline = fit(build_pipeline(), table.texts, table.labels, weighted=True)
    card = {
        "data": describe_data(table, data),
        "libraries": describe_libraries(),
        "classes": pipeline.classes_.tolist(),
        "pipeline": describe_pipeline(pipeline),
        "figures": figures,
        "reference": reference,
    }
    publish(pipeline, card, out, measured=True)
    _say_gain(figures["cross_validation"]["gain"])
    _say(f"wrote {out / MODEL_FILE} and {out / MANIFEST_FILE}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _line(scores: dict[str, float]) -> str:
    return ", ".join(f"{metric} {scores[metric]:.4f}" for metric in METRICS)


def _say_gain(gain: dict[str, dict[str, float]]) -> None:
    for metric, interval in gain.items():
        low, high = interval["low"], interval["high"]
        _say(f"gain over usual in {metric}: {interval['mean']:+.4f} [{low:+.4f}, {high:+.4f}]")


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high` for argparse."""

    def parse(text: str) -> int:
        if not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return int(text)

    parse.__name__ = "whole number"  # argparse names it in its messages
    return parse


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train and judge a model; write model.joblib and model.json.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT / "data" / "tweet_emotions.csv",
        help="table of texts and labels: .csv, .tsv, either with .gz, or .parquet",
    )
    parser.add_argument(
        "--text-column", metavar="NAME", help=f"header of the texts ({TEXT_COLUMN})"
    )
    parser.add_argument(
        "--label-column", metavar="NAME", help=f"header of the labels ({LABEL_COLUMN})"
    )
    parser.add_argument(
        "--labels",
        choices=get_args(label_review.Choice),
        default="keep",
        help="what to do with labels that differ in spelling only, or look like missing values",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "model", help="folder of the model and its card"
    )
    parser.add_argument(
        "--seed", type=_whole_number(0, 2**32 - 1), default=0, help="seed of the splits"
    )
    parser.add_argument(
        "--folds", type=_whole_number(2, 100), default=5, help="folds of the cross-validation"
    )
    parser.add_argument(
        "--repeats", type=_whole_number(1, 100), default=3, help="repeats of the cross-validation"
    )
    parser.add_argument(
        "--jobs", type=_whole_number(1, 64), default=2, help="folds judged at a time"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 on an error, 130 when interrupted."""
    given = _parse(arguments)
    options = Options(given.seed, given.folds, given.repeats, given.jobs, given.labels)
    try:
        read = read_table(given.data, given.text_column, given.label_column)
        train(read, given.data, given.out.expanduser(), options)
    except InputError as error:
        _say(f"gen_model: error: {error}. Nothing was changed.")
        return EXIT_ERROR
    except KeyboardInterrupt:
        _say("gen_model: interrupted. Nothing was changed.")
        return EXIT_INTERRUPTED
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
