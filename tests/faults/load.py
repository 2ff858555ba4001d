"""Clients that ask all the time, each from an address of its own, and what came of it."""

import json
import os
import random
import select
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from security.gateway import Gateway
from security.wire import CLOSED, Answer, Http2, read_answer

MODEL_DIR = Path(os.environ.get("MODEL_DIR", Path(__file__).resolve().parents[2] / "model"))
LABELS = frozenset(json.loads((MODEL_DIR / "model.json").read_text())["classes"])
# Below the gateway's limit of 10.
PACE_S = 1 / 7


@dataclass
class Result:
    """What the clients saw. A race is a request written while the other side closed, idle."""

    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    raced: int = 0
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def asked(self) -> int:
        return len(self.seconds)

    @property
    def failed(self) -> int:
        return self.failures.total()

    def share_ms(self, share: float) -> float:
        """Return the time that this share of the requests took at most, in ms."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0

    def __str__(self) -> str:
        times = {"p50": self.share_ms(0.5), "p99": self.share_ms(0.99), "max": self.share_ms(1)}
        counts = f"{self.asked} asked, {self.failed} failed, {self.raced} raced"
        return ", ".join([counts, *(f"{name} {ms:.1f} ms" for name, ms in times.items())])


class Client:
    """One address, one connection that is kept; no request is sent twice."""

    def __init__(self, gateway: Gateway, protocol: str, *headers: tuple[bytes, bytes]) -> None:
        self._gateway, self._protocol = gateway, protocol
        self._message = gateway.predict(*headers)
        self._source = gateway.neighbour.address()
        self._open = ExitStack()
        self._tls: ssl.SSLSocket
        self._connected = False
        self._used = False

    def ask(self) -> Answer | None:
        """Ask once, on the connection from before if the other side has not closed it.

        Returns None where it was closed in the moment of writing.

        Raises:
            OSError: no connection, no answer in time, or an answer that was cut off.
        """
        if self._connected and select.select([self._tls], [], [], 0)[0]:
            self.close()
        if not self._connected:
            self._tls = self._open.enter_context(self._gateway.tls(self._protocol, self._source))
            self._stream = self._open.enter_context(self._tls.makefile("rb"))
            self._http2 = Http2(self._tls) if self._protocol == "h2" else None
            self._connected, self._used = True, False
        try:
            answer = self._exchange()
        except CLOSED:
            answer = None
        except OSError:
            self.close()
            raise
        if answer is None:
            raced = self._used
            self.close()
            if not raced:
                raise ConnectionError("a new connection was closed without an answer")
            return None
        self._used = True
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    def _exchange(self) -> Answer | None:
        message, host = self._message, self._gateway.host
        if self._http2:
            return self._http2.ask([(message.http2(host), message.body)])[0]
        self._tls.sendall(message.http1(host))
        return read_answer(self._stream)

    def close(self) -> None:
        self._open.close()
        self._connected = False


def fault(answer: Answer) -> str:
    """Say what is wrong with an answer; nothing where it is a prediction."""
    if answer.status != 200:
        kind = answer.headers.get("content-type", "no type")
        return f"{answer.status} {kind} {answer.body[:60]!r}"
    try:
        found = json.loads(answer.body)
    except ValueError:
        return f"200 {answer.body[:60]!r}"
    return "" if found.get("prediction value") in LABELS else f"200 {found}"


class Load:
    """Clients in threads. `with load(...) as result`: it is whole when the block has ended."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    @contextmanager
    def __call__(
        self, clients: int = 40, pace_s: float = PACE_S, http2: int = 0, debug: bool = False
    ) -> Iterator[Result]:
        result, stop, lock = Result(), threading.Event(), threading.Lock()
        headers = ((b"X-Experiment-Group", b"debug"),) if debug else ()

        def work(n: int) -> None:
            client = Client(self.gateway, "h2" if n < http2 else "http/1.1", *headers)
            # All at once is not how clients come.
            turn = time.monotonic() + random.random() * pace_s  # noqa: S311
            while not stop.wait(max(0, turn - time.monotonic())):
                turn = max(turn + pace_s, time.monotonic())
                started = time.monotonic()
                try:
                    answer = client.ask()
                    wrong = fault(answer) if answer else ""
                except (OSError, ValueError) as error:
                    answer, wrong = None, repr(error)
                took = time.monotonic() - started
                with lock:
                    result.seconds.append(took)
                    if wrong:
                        result.failures[wrong] += 1
                    elif answer is None:
                        result.raced += 1
                    if answer:
                        result.statuses[answer.status] += 1
            client.close()

        threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield result
        finally:
            stop.set()
            for thread in threads:
                thread.join(timeout=30)

    def during(self, seconds: float, **how: float) -> Result:
        """Ask for so long, and do nothing else."""
        with self(**how) as result:  # type: ignore[arg-type]
            # As long as the caller wants the load to last: nothing else ends it.
            time.sleep(seconds)
        return result
