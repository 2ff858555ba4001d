"""The second stack, its clients, and the table of what the faults did.

FAULTS=quick (the default) is what `make test-all` runs: short, and only counts decide.
FAULTS=full is `make test-faults`: as many requests as the figures need, times hold too, and
docs/benchmarks/faults.md is written.
"""

import datetime
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from faults import stack
from faults.load import Load, Result
from security.gateway import Gateway, running
from security.neighbour import CannotMake, neighbour
from target import is_this_machine

FULL = os.environ.get("FAULTS", "quick") == "full"


class Row(NamedTuple):
    """One line of the table."""

    fault: str
    what: str
    result: str
    seen: str
    held: bool


ROWS: list[Row] = []
QUIET: list[Result] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not FULL:
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    if os.geteuid() != 0:
        pytest.skip("a second stack and network namespaces need root")
    if not is_this_machine():
        pytest.skip("faults are made on the machine itself: run make test-faults there")
    try:
        with neighbour() as beside, stack.up():
            yield running(stack.NAME, beside)
    except CannotMake as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def load(gateway: Gateway) -> Load:
    """Clients at 40 addresses; how they fare when nothing is wrong is measured first."""
    made = Load(gateway)
    quiet = made.during(20 if FULL else 3)
    assert not quiet.failures, quiet.failures
    QUIET.append(quiet)
    ROWS.append(Row("", "nothing", str(quiet), "", True))
    return made


@pytest.fixture(autouse=True)
def whole(gateway: Gateway) -> Iterator[None]:
    """Each fault meets a whole stack, and leaves one."""
    stack.await_healthy()
    yield
    stack.await_healthy()


Held = Callable[..., None]


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Held:
    """Write a row: what was seen, and whether it is what was promised."""

    def write(
        fault: str,
        what: str,
        result: Result | None = None,
        seen: str = "",
        p99: bool = False,
        worst_s: float = 0,
        **promises: bool,
    ) -> None:
        counts = dict(promises)
        times = {}
        if result:
            counts["nothing failed"] = not result.failures and not result.raced
        # No time decides where the suite runs, on a busy machine and for a moment only.
        if result and p99 and FULL:
            quiet = QUIET[0].share_ms(0.99)
            times["p99"] = result.share_ms(0.99) <= max(2 * quiet, quiet + 20)
        if result and worst_s and FULL:
            times["max"] = result.share_ms(1) <= 1000 * worst_s
        missed = [name for name, kept in (counts | times).items() if not kept]
        words = "; ".join(filter(None, (seen, *(f"missed: {name}" for name in missed))))
        ROWS.append(Row(fault, what, str(result or ""), words, not missed))
        assert not missed, f"{what}: {result}: {result.failures if result else ''} {words}"

    return write


HEAD = ["| | fault | requests | seen | held | seen at |", "|---|---|---|---|---|---|"]


def line(row: Row, at: str) -> str:
    held = "yes" if row.held else "**no**"
    return f"| {' | '.join([row.fault, row.what, row.result, row.seen, held, at])} |"


def merged(old: list[str], new: list[str]) -> list[str]:
    """Return the lines of both, those of a fault that was made again by its new one, in order."""

    def key(text: str) -> tuple[str, ...]:
        return tuple(cell.strip() for cell in text.split("|")[1:3])

    lines = {key(text): text for text in [*old, *new]}
    return [lines[k] for k in sorted(lines, key=lambda k: int(k[0][1:] or 0))]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not ROWS:
        return
    commit = subprocess.check_output(("git", "rev-parse", "--short", "HEAD"), text=True).strip()
    at = f"{commit}, {datetime.date.today()}"
    new = [line(row, at) for row in ROWS]
    for text in HEAD + new:
        terminalreporter.write_line(text)
    if FULL:
        path = stack.ROOT / "docs/benchmarks/faults.md"
        kept = path.read_text() if path.exists() else ""
        by_hand = kept[kept.find("\n## ") :] if "\n## " in kept else ""
        table = kept.removesuffix(by_hand).partition(HEAD[1])[2].strip().splitlines()
        title = ["# Faults, as last seen", "", "Written by `make test-faults`.", ""]
        path.write_text("\n".join([*title, *HEAD, *merged(table, new), ""]) + by_hand)
