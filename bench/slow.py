"""Measures what honest clients feel beside a thousand slow ones: `make -C bench slow`.

The slow ones come from slowhttptest, in a network namespace of its own and so from one address; the
honest ones from other addresses, each with a connection of its own. Rounds are interleaved, so that
what else the machine does meets all alike. Writes docs/benchmarks/slow-clients.md. As root, on the
machine of the stack.
"""

import datetime
import os
import re
import shlex
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from security.gateway import CannotAsk, Gateway, running
from security.neighbour import CannotMake, neighbour

ROOT = Path(__file__).resolve().parents[1]
STACK = os.environ.get("STACK_NAME", "emotions")
ROUNDS = int(os.environ.get("ROUNDS", "5"))
# The gateway ends slow clients after 10 s, and slowhttptest brings no new ones. It says every 5 s
# what is open, so less than 6 is too short.
SECONDS = int(os.environ.get("SECONDS_EACH", "8"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "1000"))
# Between two honest requests.
PACE_S = 0.05


@dataclass
class Mode:
    """One way to be slow, and what honest clients felt beside it."""

    name: str
    options: str = ""
    """{https} and {http} stand for the addresses of the gateway; nothing: no slow client."""
    times_ms: list[float] = field(default_factory=list)
    lost: int = 0
    most: int = 0
    """Slow connections that were open at once."""


MODES = [
    Mode("quiet"),
    Mode("slow headers", "-H -i 2 -t POST -u {https}/predict"),
    Mode("slow body", "-B -i 2 -s 60000 -f application/json -u {https}/predict"),
    # A redirect repeats the address: the largest answer that needs no password.
    Mode("slow reading", f"-X -k 10 -n 5 -z 8 -w 512 -y 1024 -u {{http}}/?{'a' * 8000}"),
]


def command(mode: Mode, gateway: Gateway) -> list[str]:
    places = {
        "https": f"https://{gateway.host}:{gateway.port}",
        "http": f"http://{gateway.host}:{gateway.http_port}",
    }
    common = f"-c {CONNECTIONS} -r {CONNECTIONS} -l {SECONDS + 5} -p 3 -v 1"
    return ["slowhttptest", *shlex.split(common), *shlex.split(mode.options.format_map(places))]


@contextmanager
def names(gateway: Gateway) -> Iterator[None]:
    """Let the gateway's own name lead to it inside the namespace (ip-netns)."""
    folder = Path("/etc/netns", gateway.neighbour.name)
    folder.mkdir(parents=True)
    try:
        (folder / "hosts").write_text(f"{gateway.neighbour.gateway} {gateway.host}\n")
        yield
    finally:
        shutil.rmtree(folder)


@contextmanager
def beside(mode: Mode, gateway: Gateway) -> Iterator[None]:
    """Run slowhttptest, if the mode asks for it, and read what it held open at most."""
    if not mode.options:
        yield
        return
    with tempfile.TemporaryFile("w+") as log:
        # Its own end waits for all connections. It writes its last word when it is interrupted.
        slow = subprocess.Popen(
            ["ip", "netns", "exec", gateway.neighbour.name, *command(mode, gateway)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            slow.send_signal(signal.SIGINT)
            slow.wait(30)
        log.seek(0)
        plain = re.sub(r"\x1b\[[\d;]*m", "", log.read())
    mode.most = max([mode.most, *map(int, re.findall(r"connected:\s+(\d+)", plain))])
    if not mode.most:
        raise SystemExit(f"slowhttptest opened nothing: {plain.strip()[-400:]}")


def ask(mode: Mode, gateway: Gateway) -> None:
    """Ask at an even pace, each time from another address."""
    began = time.monotonic()
    for n in range(int(SECONDS / PACE_S)):
        # No wait for anything: the even pace is the load, and slow answers must not thin it out.
        time.sleep(max(0, began + n * PACE_S - time.monotonic()))
        if (asked := time.monotonic()) - began > SECONDS:
            break
        try:
            answered = gateway.ask(gateway.predict()).status == 200
        except (OSError, ssl.SSLError, AssertionError):
            answered = False
        if answered:
            mode.times_ms.append(1000 * (time.monotonic() - asked))
        else:
            mode.lost += 1


def table(gateway: Gateway) -> str:
    """Return the document."""
    lines = [
        f"# Honest clients beside {CONNECTIONS:,} slow ones",
        "",
        f"Written by `make -C bench slow` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}: "
        f"{os.cpu_count()} cores, slowhttptest from one address, {ROUNDS} interleaved rounds of "
        f"{SECONDS} s. An honest request is a prediction from an address of its own, with its own "
        "connection and TLS handshake. The machine is shared: read the figures beside the quiet "
        "ones, not alone.",
        "",
        "| slow clients | open at once | honest requests | lost | p50 ms | p99 ms | max ms |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for mode in MODES:
        figures = ["-"] * 3
        if len(mode.times_ms) > 1:
            cuts = statistics.quantiles(mode.times_ms, n=100, method="inclusive")
            figures = [f"{value:.1f}" for value in (cuts[49], cuts[98], max(mode.times_ms))]
        asked = len(mode.times_ms) + mode.lost
        cells = [mode.name, str(mode.most), str(asked), str(mode.lost), *figures]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "slowhttptest has no password, so its bodies are refused and then ignored.", ""]
    lines += ["```text"]
    for mode in MODES[1:]:
        lines.append(re.sub("a{20,}", "aaa…", shlex.join(command(mode, gateway))))
    return "\n".join([*lines, "```", ""])


def main() -> int:
    """Measure and write the file."""
    if not shutil.which("slowhttptest"):
        print("slowhttptest is missing. Debian: apt-get install slowhttptest", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("Network namespaces need root: sudo make -C bench slow", file=sys.stderr)
        return 2
    try:
        with neighbour() as made:
            gateway = running(STACK, made)
            with names(gateway):
                for number in range(ROUNDS):
                    for mode in MODES:
                        with beside(mode, gateway):
                            ask(mode, gateway)
                        print(f"round {number + 1}: {mode.name}", flush=True)
                text = table(gateway)
    except (CannotMake, CannotAsk) as error:
        print(error, file=sys.stderr)
        return 2
    (ROOT / "docs/benchmarks/slow-clients.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
