"""What all tiers share, and their sum at the end. A tier is a folder of tests/.

`make test` is one call, `pytest tests`, and `make test-all` the same with the folders that
pyproject.toml leaves out. A tier that fails does not hide the next; one without a test fails.
"""

import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent
# These may skip as a whole: they need Chromium, or root on the very machine of the stack.
MAY_SKIP = ("page", "security", "faults", "matrix", "lifecycle")
# One after the other, while the other tiers run beside them: the gateway counts requests by
# address, and some of them look at times. Those that load the machine come last.
LAST = ("faults", "lifecycle", "matrix")
ON_THE_STACK = ("behaviour", "host", "security", *LAST)
ALSO_ON_THE_STACK = "tests/page/test_page_gateway.py"

# Where temporary folders are mounted noexec, tests keep theirs in the project's cache: they put
# programs of their own there and start them.
if os.statvfs(tempfile.gettempdir()).f_flag & os.ST_NOEXEC:
    folder = TESTS.parent / ".cache/tmp"
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)

# The machine's own engine, whatever the user's environment names.
for name in [name for name in os.environ if name.startswith("DOCKER_")]:
    del os.environ[name]
os.environ["DOCKER_HOST"] = "unix:///var/run/docker.sock"
# Tools beside this Python come first: ansible-lint starts ansible by name.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# What a program prints is the same in a terminal and in a log.
os.environ |= {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}


def tier_of(nodeid: str) -> str:
    """Return the tier of tests/TIER/…; empty for anything else."""
    parts = nodeid.split("/")
    return parts[1] if parts[0] == "tests" and len(parts) > 2 else ""


def wanted(config: pytest.Config) -> set[str]:
    """Return the tiers that were asked for as a whole: by their folder, or by tests/."""
    if any(config.getoption(name) for name in ("keyword", "markexpr", "collectonly")):
        return set()
    folders = {config.invocation_params.dir / argument for argument in config.args}
    left_out = config.getini("norecursedirs")
    everything = {path.parent.name for path in TESTS.glob("*/test_*.py")} - set(left_out)
    asked = {path.resolve() for path in folders}
    named = {path.name for path in asked if path.parent == TESTS and path.is_dir()}
    return named | (everything if TESTS in asked else set())


class Tiers:
    """Counts the results and the time of each tier, and prints them."""

    def __init__(self, config: pytest.Config) -> None:
        self.wanted = wanted(config)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.counts[tier_of(f"{report.nodeid}/")]["failed"] += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tier = tier_of(report.nodeid)
        # The time of a subtest is a part of its test's.
        if not isinstance(report, pytest.SubtestReport):
            self.seconds[tier] += report.duration
        if report.when == "call" or not report.passed:
            self.counts[tier][report.outcome] += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
        code = pytest.ExitCode
        finished = exitstatus in (code.OK, code.TESTS_FAILED, code.NO_TESTS_COLLECTED)
        if not finished or reporter is None or session.config.getoption("maxfail"):
            return
        for tier in sorted(self.wanted):
            counts = self.counts[tier]
            ran = counts["passed"] + counts["failed"]
            if not ran and not (counts["skipped"] and tier in MAY_SKIP):
                failure = pytest.CollectReport(f"tests/{tier}", "failed", "no test ran", [])
                reporter.stats.setdefault("error", []).append(failure)
                counts["failed"] += 1
                session.exitstatus = code.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("tiers")
        for tier in sorted(filter(None, self.counts)):
            numbers = (f"{self.counts[tier][k]:5} {k}" for k in ("passed", "failed", "skipped"))
            terminalreporter.line(f"{tier:10}{','.join(numbers)} in {self.seconds[tier]:.0f} s")


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Let files of tests have the usual modes, whatever the user's umask or an earlier test."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def pytest_configure(config: pytest.Config) -> None:
    # A worker of xdist sums nothing up.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Tiers(config), "tiers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: tier_of(item.nodeid) in LAST)


def scope_of(nodeid: str) -> str:
    """Return what a worker of xdist takes at a time: a file, or all that asks the stack."""
    asks = tier_of(nodeid) in ON_THE_STACK or nodeid.startswith(ALSO_ON_THE_STACK)
    return "the stack" if asks else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    scheduler = LoadFileScheduling(config, log)
    scheduler._split_scope = scope_of
    return scheduler
