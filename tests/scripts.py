"""Scripts that print a line with PASS, FAIL or SKIP for each thing that they check."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULT = re.compile(r"(PASS|FAIL|SKIP) +(.+)")


class Check(NamedTuple):
    """A line of the script's; `text` begins with its name, and holds what was printed after it."""

    result: str
    name: str
    text: str


def checks(lines: Iterator[str]) -> Iterator[Check]:
    """Return each check as soon as the next begins."""
    current: list[str] = []
    for line in lines:
        if RESULT.match(line) and current:
            yield check(current)
            current = []
        if current or RESULT.match(line):
            current.append(line)
    if current:
        yield check(current)


def check(lines: list[str]) -> Check:
    result, text = RESULT.match(lines[0]).groups()  # type: ignore[union-attr]
    return Check(result, text.partition(": ")[0], "".join([text, "\n", *lines[1:]]).strip())


def passes(subtests: pytest.Subtests, script: str, environment: Mapping[str, str]) -> None:
    """Run the script and report each of its checks as a subtest of its own."""
    failed = count = 0
    with subprocess.Popen(
        ("bash", script), cwd=ROOT, env={**environment}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout
        for found in checks(process.stdout):
            count += 1
            failed += found.result == "FAIL"
            with subtests.test(found.name):
                if found.result == "FAIL":
                    pytest.fail(found.text, pytrace=False)
                if found.result == "SKIP":
                    pytest.skip(found.text.splitlines()[0])
    assert count, f"{script} checked nothing"
    if not failed:
        assert process.returncode == 0, f"{script}: no FAIL, but exit code {process.returncode}"
