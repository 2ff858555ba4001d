"""What is shown of a failed image build, on outputs of real builders: see builds/."""

import re
from pathlib import Path

import pytest

from plugins.filter.build import LAST, WIDEST, build_advice, build_tail

OUTPUTS = sorted((Path(__file__).parent / "builds").glob("*.txt"))
# Output -> what stands in its last lines, and what the advice names.
EXPECTED = {
    "dns": ("it is not installable", "stack_https_proxy"),
    "version": ("Depends: nginx (>= 99.0) but it is not going to be installed", "mirror"),
    "disk": ("No space left on device", "docker system df"),
    "syntax": ("unknown instruction: RUNN", "git diff"),
    "nofile": ("missing.txt", "git diff"),
    "tls": ("No matching distribution found for numpy==99.0.0", "stack_ca_bundle"),
    "pip": ("No matching distribution found for numpy==99.0.0", "stack_pip_index_url"),
    "model": ("model.joblib does not have the SHA-256 that model.json records", "check-model"),
}


def result(path: Path) -> dict[str, str]:
    """Return what a module or a command hands over for the output."""
    return {"msg" if path.stem.startswith("classic") else "stderr": path.read_text()}


each_output = pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: str(path.stem))


@each_output
def test_the_last_lines_hold_the_reason_and_the_advice_fits(path: Path) -> None:
    words, advice = EXPECTED[path.stem.partition("-")[2]]
    assert words in "\n".join(build_tail(result(path)))
    assert advice in build_advice(result(path))


@each_output
def test_they_are_few_short_and_without_colours(path: Path) -> None:
    lines = build_tail(result(path))
    assert 0 < len(lines) <= LAST
    assert max(map(len, lines)) <= WIDEST
    assert not re.search(r"\x1b|\\x1b|buildargs=|, logs: \[", "\n".join(lines))
    assert all(line.strip() for line in lines)


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_there_are_outputs_of(builder: str) -> None:
    assert len([path for path in OUTPUTS if path.stem.startswith(builder)]) >= 5


def test_a_letter_and_its_message_are_one_line() -> None:
    # apt colours "E:" alone, and the classic builder makes a line of each colour.
    log = ["\x1b[91mE:\x1b[0m", "\x1b[91m \x1b[0m", "\x1b[91mUnable to correct problems\x1b[0m"]
    message = f"Error building x - code: 100, message: failed, logs: {log!r}"
    assert build_tail({"msg": message}) == ["E: Unable to correct problems", "failed"]


def test_of_steps_that_printed_nothing_the_last_is_shown() -> None:
    log = ["Step 1/3 : FROM x", " ---> Using cache", "Step 2/3 : RUN a", "Step 3/3 : RUN b", "c"]
    message = f"Error building x - code: 1, message: failed, logs: {log!r}"
    assert build_tail({"msg": message}) == ["Step 3/3 : RUN b", "c", "failed"]


def test_what_nobody_knows_gets_no_advice() -> None:
    assert build_advice({"msg": "Error building x - code: 1, message: boom, logs: ['boom']"}) == ""


def test_a_secret_of_the_request_is_not_shown() -> None:
    url = "http+docker://localhost/v1.41/build?buildargs=%7B%22PIP_INDEX_URL%22%3A+%22hunter2"
    message = f"An unexpected Docker error occurred: 500 Server Error for {url}: Internal (x)"
    assert build_tail({"msg": message}) == ["An unexpected Docker error occurred: 500 Internal (x)"]


def test_a_broken_log_is_shown_as_it_is() -> None:
    message = "Error building x - code: 1, message: boom, logs: ['one', 'tw"
    assert build_tail({"msg": message}) == ["'one', 'tw", "boom"]
