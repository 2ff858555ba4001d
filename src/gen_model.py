"""Trains the emotion model: a CSV of labelled sentences in, `model.joblib` and `model.json` out.

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
import csv
import hashlib
import io
import json
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy
import sklearn
from numpy.typing import NDArray
from scipy.stats import t as student_t
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import RepeatedStratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[1]

MODEL_NAME = "tweet-emotions"
MODEL_FILE = "model.joblib"
CARD_FILE = "model.json"

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

GOLDEN_SENTENCES = (
    "I love you so much, thank you for everything!",
    "So happy today, the sun is out and I have no plans :)",
    "I miss my dog so much, the house feels empty without her",
    "I hate Mondays, I hate this bus and I hate the rain",
    "Worried about tomorrow's exam... I haven't studied at all",
    "That concert was so much fun, we laughed all night!!",
    "Finally finished my thesis, what a relief",
    "Wow, I can't believe they gave me the job!?",
    "So bored at work, nothing to do",
    "The meeting was moved to 3 pm in room 12.",
    "Can't wait for the new season to start",
    "Stop shouting at me, I am so angry right now",
    "ok",
    "not good",
    "qzxv wrtpl kkjhgf",
    "Crème brûlée à Paris 🎉❤️ with my sister",
    "@sam happy birthday!! hope you have a great day <3",
    (
        "My phone died, my train is late and my feet hurt. Still, the coffee is good "
        "and the woman next to me is sharing her umbrella, so I can't complain too much."
    ),
)
"""Sentences whose answers the card records, so that a server can prove it answers the same."""


class TrainingError(Exception):
    """Training cannot go on; the message says in one line why, and what to do."""


@dataclass(frozen=True)
class Table:
    """Labelled sentences; `texts[i]` carries `labels[i]`.

    `rows` is how many rows the file holds, including those left out; `sha256` is the file's.
    """

    texts: list[str]
    labels: list[str]
    rows: int
    sha256: str


@dataclass(frozen=True)
class Options:
    """How a model is trained and judged."""

    seed: int
    folds: int
    repeats: int
    jobs: int


# --- reading ------------------------------------------------------------------------------------


def read_table(path: Path) -> Table:
    """Read a CSV in UTF-8 with at least the columns `content` and `sentiment`, in any order.

    Rows without a sentence or without a label are left out.

    Raises:
        TrainingError: the file cannot be read or does not hold such a table.
    """
    try:
        # Not every shell replaces the `~` of DATA=~/file.csv.
        raw = path.expanduser().read_bytes()
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be read: {error.strerror}; name the CSV by --data"
        ) from None
    texts: list[str] = []
    labels: list[str] = []
    rows = 0
    for content, sentiment in _records(_decode(raw, path), path):
        rows += 1
        if content and sentiment:
            texts.append(content)
            labels.append(sentiment)
    if not texts:
        raise TrainingError(
            f"{path} holds no rows with both a `content` and a `sentiment`; add labelled sentences"
        )
    return Table(texts, labels, rows, hashlib.sha256(raw).hexdigest())


def _decode(raw: bytes, path: Path) -> str:
    if not raw.strip():
        raise TrainingError(f"{path} is empty; it needs a header line and labelled sentences")
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise TrainingError(
            f"{path} holds a NUL byte in line {line}; it is damaged or not UTF-8 text: save it anew"
        )
    try:
        # Spreadsheets put a byte order mark in front.
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TrainingError(
            f"{path} is not UTF-8 (line {line}); convert it, e.g. with iconv"
        ) from None


def _records(text: str, path: Path) -> Iterator[tuple[str, str]]:
    """Yield (content, sentiment) of each row, stripped; empty where the row is too short."""
    # Strict, because otherwise one lost quotation mark swallows the rest of the file in silence.
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restval="")
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        for column in ("content", "sentiment"):
            if column not in reader.fieldnames:
                found = ", ".join(map(repr, reader.fieldnames))
                raise TrainingError(
                    f"{path} has no column '{column}' (its first line names {found});"
                    " name the columns `content` and `sentiment` there"
                )
        for row in reader:
            yield row["content"].strip(), row["sentiment"].strip()
    except csv.Error as error:
        raise TrainingError(
            f"{path} is not proper CSV near line {reader.line_num}: {error}; mend the line"
        ) from None


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


def build_pipeline(labels: Sequence[str]) -> Pipeline:
    """Return the unfitted pipeline of this project, weighted for training on `labels`."""
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
                LogisticRegression(C=1.0, max_iter=1000, class_weight=rarity_weights(labels)),
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


def fit(pipeline: Pipeline, texts: Sequence[str], labels: Sequence[str]) -> Pipeline:
    """Fit `pipeline` in place and return it.

    Raises:
        TrainingError: no term is frequent enough, or the solver does not converge.
    """
    try:
        # One thread: sums in another order differ in the last digits, and so would the file.
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            # A plain string array: an array of objects would be pickled as foreign code.
            pipeline.fit(texts, np.array(labels, dtype=np.str_))
            # A memory address (of the stop words); pickled, it would change the file at each run.
            vars(pipeline["tfidf"]).pop("_stop_words_id", None)
    except ConvergenceWarning:
        raise TrainingError(
            "the solver did not converge; look for damaged sentences in the data"
        ) from None
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise TrainingError(
            f"the pipeline cannot be fitted: {reason}; add more sentences"
        ) from None
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
    ours = fit(build_pipeline(labels), texts, labels)
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
    """Judge the pipeline, and return the figures and a reference for its later use.

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
    ours = fit(build_pipeline(labels), texts, labels)
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


# --- writing ------------------------------------------------------------------------------------


def publish(pipeline: Pipeline, card: dict[str, Any], out: Path) -> None:
    """Write `pipeline` and its card to the folder `out`; swap both in only when both are whole.

    `card` gains what depends on the written file: version, SHA-256, size and golden answers.

    Raises:
        TrainingError: the folder cannot be written, or the written model does not load.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=out) as staging:
            new_model, new_card = Path(staging, MODEL_FILE), Path(staging, CARD_FILE)
            joblib.dump(pipeline, new_model, compress=("zlib", 6))
            complete = complete_card(card, new_model)
            text = json.dumps(complete, indent=2, ensure_ascii=False, allow_nan=False)
            new_card.write_text(text + "\n", encoding="utf-8")
            _swap_in(new_model, new_card, out)
    except OSError as error:
        raise TrainingError(
            f"the model cannot be written to {out}: {error}; mend that, then train again"
        ) from None


def _swap_in(new_model: Path, new_card: Path, out: Path) -> None:
    """Rename the new pair over the old one; put the old model back if the card cannot follow.

    A reader between the two renames finds a SHA-256 in the card that is not the model's, and
    must refuse it: it never takes an unlisted model for a listed one.
    """
    model, old_model = out / MODEL_FILE, new_model.with_name("old.joblib")
    for path in (new_model, new_card):
        _flush_to_disk(path)
    with suppress(FileNotFoundError):
        shutil.copy2(model, old_model)
    os.replace(new_model, model)
    try:
        os.replace(new_card, out / CARD_FILE)
    except BaseException:
        if old_model.exists():
            os.replace(old_model, model)
        else:
            model.unlink()
        raise


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def complete_card(card: dict[str, Any], model: Path) -> dict[str, Any]:
    """Return the card with the fields that describe the file `model`, in their usual order."""
    raw = model.read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    return {
        "name": MODEL_NAME,
        "version": sha256[:12],
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": sha256,
        "bytes": len(raw),
        **card,
        "golden": golden_answers(joblib.load(model)),
    }


def golden_answers(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Return what `pipeline` answers to each golden sentence; probabilities add up to 1."""
    rows = pipeline.predict_proba(GOLDEN_SENTENCES)
    classes = pipeline.classes_.tolist()
    return [
        {
            "sentence": sentence,
            "prediction": classes[int(row.argmax())],
            "probabilities": dict(zip(classes, row.tolist(), strict=True)),
        }
        for sentence, row in zip(GOLDEN_SENTENCES, rows, strict=True)
    ]


def describe_data(table: Table, path: Path) -> dict[str, Any]:
    """Return what the card says about the data; `labels` counts the rows used."""
    return {
        "file": path.name,
        "sha256": table.sha256,
        "rows": table.rows,
        "rows_used": len(table.texts),
        "labels": dict(sorted(Counter(table.labels).items())),
    }


def describe_libraries() -> dict[str, str]:
    """Return the versions a pickle depends on."""
    return {
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "joblib": joblib.__version__,
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


def train(data: Path, out: Path, options: Options) -> None:
    """Train on `data` and put the model and its card into `out`.

    Raises:
        TrainingError: see the message; the files in `out` are as before.
    """
    read = read_table(data)
    table = drop_repeats(read)
    _say(f"{data}: {read.rows} rows, {len(table.texts)} of them used")
    check_classes(table)
    figures, reference = judge(table, options)
    _say(f"fitting on all {len(table.texts)} rows")
    pipeline = fit(build_pipeline(table.labels), table.texts, table.labels)
    card = {
        "data": describe_data(table, data),
        "libraries": describe_libraries(),
        "classes": pipeline.classes_.tolist(),
        "pipeline": describe_pipeline(pipeline),
        "figures": figures,
        "reference": reference,
    }
    publish(pipeline, card, out)
    _say_gain(figures["cross_validation"]["gain"])
    _say(f"wrote {out / MODEL_FILE} and {out / CARD_FILE}")


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
        description="Train and judge the emotion model; write model.joblib and model.json.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT / "data" / "tweet_emotions.csv",
        help="CSV in UTF-8 with the columns content and sentiment",
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
    options = Options(given.seed, given.folds, given.repeats, given.jobs)
    try:
        train(given.data, given.out, options)
    except TrainingError as error:
        _say(f"gen_model: error: {error}. Nothing was changed.")
        return EXIT_ERROR
    except KeyboardInterrupt:
        _say("gen_model: interrupted. Nothing was changed.")
        return EXIT_INTERRUPTED
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
