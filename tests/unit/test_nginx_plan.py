"""What `make plan` says of the gateway's configuration, and that it leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "roles/nginx/files/plan.py"
LIVE = {
    "limits.conf": "# One budget.\nrate 10r/s;\n\nburst 5;\n",
    "old.conf": "gone;\n",
    "version.conf": "version a;\n",
}


@pytest.fixture
def live(tmp_path: Path) -> Path:
    folder = tmp_path / "live"
    folder.mkdir()
    for name, text in LIVE.items():
        (folder / name).write_text(text)
    return folder


def plan(live: Path, texts: dict[str, str], *command: str) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [sys.executable, SCRIPT, live, *command],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_the_same_directives_are_nothing_to_say(live: Path) -> None:
    texts = LIVE | {"limits.conf": "rate 10r/s;\n    burst 5;  \n", "version.conf": "version b;\n"}
    assert plan(live, texts) == (0, [], "")


def test_each_directive_that_goes_or_comes_is_a_line(live: Path) -> None:
    texts = {"limits.conf": "# Another one.\nrate 20r/s;\nburst 5;\n", "new.conf": "here;\n"}
    assert plan(live, texts)[:2] == (
        0,
        [
            "limits.conf: - rate 10r/s;",
            "limits.conf: + rate 20r/s;",
            "new.conf: + here;",
            "old.conf: - gone;",
        ],
    )


def test_before_the_first_run_all_is_new(tmp_path: Path) -> None:
    assert plan(tmp_path / "none", {"a.conf": "b;\n"})[1] == ["a.conf: + b;"]


def test_the_test_sees_the_new_files_and_they_go(live: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = f'cat "$0"/limits.conf >{seen}; echo "$0" >>{seen}'
    assert plan(live, {"limits.conf": "rate 20r/s;"}, "bash", "-c", script, "TREE")[0] == 0
    text, folder = seen.read_text().split(";")
    assert text == "rate 20r/s"
    assert not Path(folder.strip()).exists()


def test_what_fails_the_test_is_said_in_its_own_words(live: Path) -> None:
    code, _, error = plan(live, LIVE, "bash", "-c", "echo unknown directive >&2; exit 1")
    assert (code, error) == (1, "unknown directive\n")
    assert (live / "limits.conf").read_text() == LIVE["limits.conf"]
