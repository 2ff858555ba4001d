"""The lock of a stack: one change at a time, free again when its owner is gone."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "roles/stack/files/change.py"

# Stands for ansible-playbook or for sshd, by its name: runs each line that it reads.
OWNER = """#!/bin/bash
while read -r line; do bash -c "$line"; echo "code $?"; done
"""


class Owner:
    """A process that takes and ends, as long as it lives."""

    def __init__(self, folder: Path, name: str = "ansible-playbook") -> None:
        path = folder / name
        if not path.exists():
            path.write_text(OWNER)
            path.chmod(0o755)
        self.folder = folder
        self.process = subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def begin(self, *words: str) -> None:
        assert self.process.stdin
        command = shlex.join((sys.executable, str(self.folder / "change.py"), *words))
        line = f"{command} 2>&1\n"
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def answer(self) -> tuple[int, str]:
        assert self.process.stdout
        said = ""
        while not (line := self.process.stdout.readline()).startswith("code "):
            assert line, "the owner has ended"
            said += line
        return int(line.split()[1]), said

    def take(self, what: str = "deploy") -> tuple[int, str]:
        self.begin("take", "app", str(self.folder / "etc"), what, "ann@desk", "abc1234")
        return self.answer()

    def end(self, *words: str) -> tuple[int, str]:
        self.begin("end", "app", str(self.folder / "etc"), *words)
        return self.answer()

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = SCRIPT.read_text()
    assert text.count('"/run"') == 1
    (tmp_path / "change.py").write_text(text.replace('"/run"', f'"{tmp_path}"'))
    (tmp_path / "etc").mkdir()
    return tmp_path


@pytest.fixture
def owners(folder: Path) -> Iterator[list[Owner]]:
    made: list[Owner] = []
    yield made
    for owner in made:
        owner.kill()


@pytest.fixture
def two(folder: Path, owners: list[Owner]) -> tuple[Owner, Owner]:
    owners += [Owner(folder), Owner(folder)]
    return owners[0], owners[1]


def history(folder: Path) -> list[dict[str, Any]]:
    path = folder / "etc/history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_second_change_is_refused_with_who_what_and_how_long(two: tuple[Owner, Owner]) -> None:
    first, second = two
    assert first.take() == (0, "")
    code, said = second.take()
    assert code == 3
    assert said.startswith("deploy by ann@desk has been under way for ")
    assert f"pid {first.process.pid}" in said


def test_after_the_end_the_next_one_may(folder: Path, two: tuple[Owner, Owner]) -> None:
    first, second = two
    first.take()
    assert first.end("done", "1a2b3c4d") == (0, "")
    assert second.take("rollback") == (0, "")
    assert second.end("failed") == (0, "")
    lines = history(folder)
    assert [(line["what"], line["result"], line["release"]) for line in lines] == [
        ("deploy", "done", "1a2b3c4d"),
        ("rollback", "failed", None),
    ]
    assert all(line["who"] == "ann@desk" and line["commit"] == "abc1234" for line in lines)


def test_plays_of_one_run_share_it(folder: Path, two: tuple[Owner, Owner]) -> None:
    first, second = two
    assert first.take("upgrade") == (0, "")
    assert first.take("start-project") == (0, "")
    assert second.take()[0] == 3
    first.end("done")
    assert [line["what"] for line in history(folder)] == ["upgrade"]


def test_who_does_not_own_it_cannot_free_it(folder: Path, two: tuple[Owner, Owner]) -> None:
    first, second = two
    first.take()
    assert second.end("done") == (0, "")
    assert second.take()[0] == 3
    assert history(folder) == []


def test_an_owner_that_is_gone_holds_nobody_up(folder: Path, two: tuple[Owner, Owner]) -> None:
    first, second = two
    first.take()
    first.kill()
    assert second.take("rollback") == (0, "")
    assert [(line["what"], line["result"]) for line in history(folder)] == [("deploy", "cut off")]


def test_a_pid_that_was_given_again_is_no_owner(folder: Path, two: tuple[Owner, Owner]) -> None:
    first, second = two
    first.take()
    path = folder / "app.lock"
    lock = json.loads(path.read_text())
    # What has this pid now started at another time.
    path.write_text(json.dumps(lock | {"start": "1"}))
    assert second.take() == (0, "")


def test_a_connection_by_ssh_may_outlive_its_controller(folder: Path, owners: list[Owner]) -> None:
    owners += [Owner(folder, "sshd"), Owner(folder)]
    assert owners[0].take() == (0, "")
    code, said = owners[1].take()
    assert (code, "(ssh, pid" in said) == (4, True)
    owners[0].kill()
    assert owners[1].take() == (0, "")


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1'])
def test_a_lock_that_was_cut_off_while_it_was_written_is_free(
    folder: Path, two: tuple[Owner, Owner], text: str
) -> None:
    (folder / "app.lock").write_text(text)
    assert two[0].take() == (0, "")
    assert two[1].take()[0] == 3


def test_of_many_at_once_one_gets_it(folder: Path, owners: list[Owner]) -> None:
    path = folder / "change.py"
    # Time enough for each of them to have looked before the first has written.
    before, taking, after = path.read_text().partition("        write(file, {**me")
    path.write_text(f"{before}        time.sleep(0.2)\n{taking}{after}")
    owners += [Owner(folder) for _ in range(12)]
    for owner in owners:
        owner.begin("take", "app", str(folder / "etc"), "deploy", "ann@desk", "abc1234")
    assert Counter(owner.answer()[0] for owner in owners) == {0: 1, 3: 11}


def test_a_stack_that_is_gone_leaves_neither_lock_nor_history(
    folder: Path, two: tuple[Owner, Owner]
) -> None:
    two[0].take("teardown")
    (folder / "etc").rmdir()
    two[0].end("done")
    assert sorted(path.name for path in folder.iterdir()) == ["ansible-playbook", "change.py"]
    assert two[1].take() == (0, "")


def test_other_words_give_the_usage(two: tuple[Owner, Owner]) -> None:
    code, said = two[0].end()
    assert (code, "Usage: change.py" in said) == (2, True)
