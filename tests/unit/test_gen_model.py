"""The training tool: what it accepts, what it refuses, and what it leaves on the disk."""

# mypy: disable-error-code="import-untyped, import-not-found"

import csv
import hashlib
import json
import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

import gen_model
from table import Table, read_table

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "tweet_emotions.csv"
LABELS = [
    "anger",
    "boredom",
    "empty",
    "enthusiasm",
    "fun",
    "happiness",
    "hate",
    "love",
    "neutral",
    "relief",
    "sadness",
    "surprise",
    "worry",
]
OLD_MODEL, OLD_CARD = b"the old model", b"the old card"


def run(data: Path, out: Path, *more: str) -> int:
    """Train as fast as the tool can: two folds, one process."""
    quick = ["--folds", "2", "--repeats", "1", "--jobs", "1"]
    return gen_model.main(["--data", str(data), "--out", str(out), *quick, *more])


def read_card(folder: Path) -> Any:
    return json.loads((folder / "model.json").read_text(encoding="utf-8"))


def sample_rows() -> list[dict[str, str]]:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def two_classes(rows_each: int, last: int | None = None) -> bytes:
    """Return a CSV of two classes, the second one with `last` rows if given."""
    counts = {"happiness": rows_each, "worry": rows_each if last is None else last}
    lines = [
        f"{label},i feel {label} today number{n}" for label in counts for n in range(counts[label])
    ]
    return "\n".join(["sentiment,content", *lines, ""]).encode()


@pytest.fixture
def old_pair(tmp_path: Path) -> Path:
    """Give a folder that holds a model and a card from before."""
    out = tmp_path / "model"
    out.mkdir()
    (out / "model.joblib").write_bytes(OLD_MODEL)
    (out / "model.json").write_bytes(OLD_CARD)
    return out


def assert_untouched(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == ["model.joblib", "model.json"]
    assert (out / "model.joblib").read_bytes() == OLD_MODEL
    assert (out / "model.json").read_bytes() == OLD_CARD


def assert_pair_is_consistent(folder: Path) -> None:
    """Hold the card against the model beside it."""
    card = read_card(folder)
    raw = (folder / "model.joblib").read_bytes()
    assert card["sha256"] == hashlib.sha256(raw).hexdigest()
    assert card["version"] == card["sha256"][:12]
    assert card["bytes"] == len(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline = joblib.load(folder / "model.joblib")
    assert card["classes"] == pipeline.classes_.tolist()
    # An array of objects would be a pickle inside the pickle, which no list of names guards.
    assert pipeline.classes_.dtype.kind == "U"
    for golden in card["golden"]:
        row = pipeline.predict_proba([golden["sentence"]])[0]
        assert pipeline.predict([golden["sentence"]])[0] == golden["prediction"]
        assert list(golden["probabilities"]) == card["classes"]
        assert list(golden["probabilities"].values()) == pytest.approx(row, rel=0, abs=1e-9)


# --- good input ---------------------------------------------------------------------------------


def test_sample_trains_a_consistent_pair(
    old_pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(SAMPLE, old_pair) == 0
    assert sorted(path.name for path in old_pair.iterdir()) == ["model.joblib", "model.json"]
    assert_pair_is_consistent(old_pair)
    progress = capsys.readouterr().err
    assert "fold 2/2" in progress
    assert "last fifth" in progress


def test_model_files_can_be_read_by_other_users(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert run(SAMPLE, tmp_path / "model") == 0
    finally:
        os.umask(before)
    for path in (tmp_path / "model").iterdir():
        assert path.stat().st_mode & 0o777 == 0o644, path.name


def test_columns_may_come_in_any_order_and_without_tweet_id(tmp_path: Path) -> None:
    rows = [{**row, "note": "more"} for row in sample_rows()]
    bare = write_csv(tmp_path / "bare.csv", ["content", "sentiment"], rows)
    more = write_csv(tmp_path / "more.csv", ["note", "sentiment", "tweet_id", "content"], rows)
    for data in (bare, more):
        assert run(data, tmp_path / data.stem) == 0
    assert read_card(tmp_path / "bare")["golden"] == read_card(tmp_path / "more")["golden"]


def test_byte_order_mark_and_quoted_line_breaks_are_read(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(b'\xef\xbb\xbfsentiment,content\r\nlove,"so, ""fine""\nindeed"\r\n')
    table = read_table(data)
    assert (table.texts, table.labels) == (['so, "fine"\nindeed'], ["love"])


def test_spaces_around_column_names_and_labels_do_not_count(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(b"sentiment , content\n love, a kiss\n")
    table = read_table(data)
    assert (table.texts, table.labels) == (["a kiss"], ["love"])


def test_rows_without_sentence_or_label_are_left_out(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(b"sentiment,content\nlove,a kiss\nlove,  \n,no label\nworry\n")
    table = read_table(data)
    assert (table.texts, table.labels, table.rows) == (["a kiss"], ["love"], 4)


def test_card_tells_the_data_it_was_trained_on(tmp_path: Path) -> None:
    assert run(SAMPLE, tmp_path) == 0
    counts = Counter(row["sentiment"] for row in sample_rows())
    assert read_card(tmp_path)["data"] == {
        "file": "tweet_emotions.csv",
        "sha256": hashlib.sha256(SAMPLE.read_bytes()).hexdigest(),
        "rows": 156,
        "rows_used": 156,
        "labels": dict(counts),
    }


def test_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    """In processes of their own, since hashes and addresses are the same within one."""
    tool = [sys.executable, str(gen_model.__file__), "--folds", "2", "--repeats", "1", "--jobs"]
    for name, jobs in (("one", "1"), ("two", "2")):
        subprocess.run([*tool, jobs, "--seed", "7", "--out", tmp_path / name], check=True)
    one, two = read_card(tmp_path / "one"), read_card(tmp_path / "two")
    assert one["sha256"] == two["sha256"]
    assert one["figures"] == two["figures"]


def test_another_seed_judges_on_other_rows(tmp_path: Path) -> None:
    for seed in ("7", "8"):
        assert run(SAMPLE, tmp_path / seed, "--seed", seed) == 0
    one, two = (read_card(tmp_path / seed)["figures"] for seed in ("7", "8"))
    assert one["cross_validation"]["gain"] != two["cross_validation"]["gain"]
    assert one["final_fifth"]["model"] != two["final_fifth"]["model"]


def test_folds_shrink_to_the_rarest_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(two_classes(30, last=5))
    assert gen_model.main(["--data", str(data), "--out", str(tmp_path), "--jobs", "1"]) == 0
    assert read_card(tmp_path)["figures"]["cross_validation"]["folds"] == 4
    assert "4 folds, not 5" in capsys.readouterr().err


# --- cleaning and statistics --------------------------------------------------------------------


def drop_repeats(*rows: tuple[str, str]) -> list[tuple[str, str]]:
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    table = gen_model.drop_repeats(Table(texts, labels, len(rows), ""))
    return list(zip(table.texts, table.labels, strict=True))


def test_repeats_are_found_despite_case_and_white_space() -> None:
    rows = ("Good  day", "love"), ("good day ", "love"), ("bad day", "hate")
    assert drop_repeats(*rows) == [("Good  day", "love"), ("bad day", "hate")]


def test_most_frequent_label_of_a_repeated_sentence_wins() -> None:
    assert drop_repeats(("hm", "worry"), ("hm", "empty"), ("hm", "empty")) == [("hm", "empty")]


def test_sentence_whose_labels_tie_is_left_out() -> None:
    assert drop_repeats(("hm", "worry"), ("ok", "neutral"), ("hm", "empty")) == [("ok", "neutral")]


def test_rare_classes_weigh_more_and_the_mean_weight_is_one() -> None:
    labels = ["love"] * 90 + ["anger"] * 10
    weights = gen_model.rarity_weights(labels)
    assert weights["anger"] > weights["love"]
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1)


def test_corrected_interval_matches_a_calculation_by_hand() -> None:
    # mean 2, variance 1, n 3: half width t(0.975, 2) * sqrt((1/3 + 1/4) * 1)
    interval = gen_model.corrected_interval([1.0, 2.0, 3.0], test_to_train=1 / 4)
    assert interval["mean"] == pytest.approx(2)
    assert interval["high"] - 2 == pytest.approx(4.302652730 * (7 / 12) ** 0.5)
    assert 2 - interval["low"] == pytest.approx(4.302652730 * (7 / 12) ** 0.5)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("I don't know", ["i", "don't", "know"]),
        ("@some_body hello", ["hello"]),
        ("Disappointed, disappointing", ["disappo", "disappo"]),
        ("wouldn't 'quoted'", ["wouldn't", "quoted"]),
        ("couldn't've", ["couldn't"]),
        ("Why?! :) <3", ["why", "?!", ":)", "<3"]),
        ("well... ok", ["well", "...", "ok"]),
    ],
)
def test_terms_of_a_sentence(text: str, terms: list[str]) -> None:
    vectorizer = gen_model.build_pipeline()["tfidf"].set_params(ngram_range=(1, 1))
    assert vectorizer.build_analyzer()(text) == terms


# --- bad input ----------------------------------------------------------------------------------

BAD_DATA: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "blank": (b"\n \n", "is empty"),
    "header only": (b"sentiment,content\n", "no row"),
    "no labels": (b"sentiment,content\n,hello\n,world\n", "no row"),
    "no column content": (b"sentiment,text\nlove,hello\n", "no column 'content'"),
    "no column sentiment": (b"label,content\nlove,hello\n", "no column 'sentiment'"),
    "not UTF-8": (b"sentiment,content\nlove,ol\xe9\n", "not UTF-8 (line 2)"),
    "NUL byte": (b"sentiment,content\nlove,a\nlove,b\0c\n", "NUL byte in line 3"),
    "open quotation mark": (b'sentiment,content\nlove,"hello\nworry,no\n', "not proper CSV"),
    "field too long": (
        b"sentiment,content\nlove," + b"a" * 200_000,
        "line 2: a cell has 200000 characters",
    ),
    "one class": (b"sentiment,content\nlove,one\nlove,two\n", "1 class"),
    "no class left": (b"sentiment,content\nlove,one\nhate,one\n", "0 class"),
    "rare class": (two_classes(20, last=4), "class 'worry' has 4 row(s)"),
    "no frequent term": (
        "\n".join(["sentiment,content"] + [f"{'ab'[n % 2]},w{n}" for n in range(20)]).encode(),
        "add more sentences",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_is_refused_and_the_old_model_stays(
    content: bytes,
    message: str,
    tmp_path: Path,
    old_pair: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "bad.csv"
    data.write_bytes(content)
    assert run(data, old_pair) == 2
    assert_untouched(old_pair)
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line.startswith("gen_model: error: ")
    assert message in last_line


def test_missing_data_file_is_refused(
    tmp_path: Path, old_pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "nowhere.csv", old_pair) == 2
    assert_untouched(old_pair)
    assert "nowhere.csv cannot be read: No such file" in capsys.readouterr().err


def test_output_that_is_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    out.write_bytes(b"in the way")
    assert run(SAMPLE, out) == 2
    assert out.read_bytes() == b"in the way"
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [("--folds", "1"), ("--repeats", "0"), ("--seed", "x"), ("--seed", "-1")]
)
def test_senseless_option_is_refused(option: tuple[str, str], old_pair: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        run(SAMPLE, old_pair, *option)
    assert stop.value.code == 2
    assert_untouched(old_pair)


# --- failures while writing ---------------------------------------------------------------------


def fail_when_replacing(name: str, error: BaseException) -> Callable[..., None]:
    """Return an `os.replace` that raises `error` the first time `name` is the target."""
    real, pending = os.replace, [error]

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == name and pending:
            raise pending.pop()
        real(source, target)

    return replace


@pytest.mark.parametrize("name", ["model.joblib", "model.json"])
def test_failed_rename_leaves_the_old_pair(
    name: str, old_pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", fail_when_replacing(name, OSError(28, "No space left")))
    assert run(SAMPLE, old_pair) == 2
    assert_untouched(old_pair)


def test_interrupt_between_the_renames_leaves_the_old_pair(
    old_pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", fail_when_replacing("model.json", KeyboardInterrupt()))
    assert run(SAMPLE, old_pair) == 130
    assert_untouched(old_pair)


def test_failed_first_training_leaves_no_half_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    monkeypatch.setattr(
        os, "replace", fail_when_replacing("model.json", OSError(28, "No space left"))
    )
    assert run(SAMPLE, out) == 2
    assert list(out.iterdir()) == []


# --- what is committed --------------------------------------------------------------------------


def test_committed_card_matches_the_committed_model() -> None:
    assert_pair_is_consistent(ROOT / "model")


def test_rare_classes_weigh_more_also_where_labels_are_numbers() -> None:
    """scikit-learn 1.9 looks for the class_weight of the label "1" under the number 1."""
    texts = ["good sun"] * 30 + ["bad rain"] * 6
    for common, rare in (("joy", "woe"), ("0", "1")):
        labels = [common] * 30 + [rare] * 6
        weights = gen_model.rarity_weights(labels)
        by_row = gen_model.fit(gen_model.build_pipeline(), texts, labels, weighted=True)
        plain = gen_model.fit(gen_model.build_pipeline(), texts, labels)
        assert weights[rare] > weights[common]
        shares = [model.predict_proba(["rain"])[0, 1] for model in (by_row, plain)]
        assert shares[0] > shares[1]


@pytest.fixture
def committed() -> Any:
    """The card of the project's own model."""
    card = read_card(ROOT / "model")
    if card["classes"] != LABELS:
        pytest.skip(f"model/ holds another model than the project's: {card['classes']}")
    return card


def test_committed_card_has_its_fields_in_order(committed: Any) -> None:
    card = committed
    assert list(card) == [
        "name",
        "version",
        "trained_at",
        "sha256",
        "bytes",
        "data",
        "libraries",
        "classes",
        "pipeline",
        "figures",
        "reference",
        "golden",
    ]
    assert card["classes"] == LABELS
    assert 13 <= len(card["golden"]) <= 20
    assert sum(card["reference"]["labels"].values()) == pytest.approx(1)
    shares = list(card["reference"]["coverage"].values())
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_committed_model_beats_the_usual_pipeline(committed: Any) -> None:
    figures = committed["figures"]
    gain = figures["cross_validation"]["gain"]
    assert gain["log_loss"]["low"] > 0
    assert gain["macro_f1"]["low"] > 0
    assert gain["accuracy"]["mean"] >= 0
    final = figures["final_fifth"]
    assert final["model"]["log_loss"] < final["usual"]["log_loss"]
    assert final["model"]["macro_f1"] > final["usual"]["macro_f1"]


@pytest.mark.usefixtures("committed")
def test_committed_model_can_be_compiled_and_checked() -> None:
    """A server that unpickles through a list of allowed names relies on these."""
    assert (ROOT / "model" / "model.joblib").stat().st_size <= 6_000_000
    pipeline = joblib.load(ROOT / "model" / "model.joblib")
    assert [name for name, _ in pipeline.steps] == ["tfidf", "clf"]
    assert pipeline["clf"].coef_.dtype == np.float64
    terms = pipeline["tfidf"].vocabulary_
    assert {type(index) for index in terms.values()} == {int}
    assert len(terms) == pipeline["clf"].coef_.shape[1]


@pytest.mark.usefixtures("committed")
def test_committed_model_knows_no_user_names() -> None:
    terms = joblib.load(ROOT / "model" / "model.joblib")["tfidf"].vocabulary_
    assert [term for term in terms if "@" in term] == []


def test_sample_holds_twelve_sentences_of_each_label() -> None:
    rows = sample_rows()
    assert Counter(row["sentiment"] for row in rows) == dict.fromkeys(LABELS, 12)
    assert len({row["content"].casefold() for row in rows}) == len(rows)
