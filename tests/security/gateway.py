"""The running gateway, asked from the neighbour, and the replicas' own count of requests."""

import json
import re
import shlex
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

import direct
from security.neighbour import Neighbour
from security.wire import Answer, Hidden, Http2, Message, read_answer

RATE, BURST = 10, 5
# What a new address may ask without waiting.
AT_ONCE = 1 + BURST
JSON = (b"Content-Type", b"application/json")
SENTENCE = b'{"sentence": "I love the ice cream"}'
SIDE_BY_SIDE = 16
# The gateway itself ends whatever it waits for after 10 s.
PATIENCE_S = 12


class Counts(NamedTuple):
    """Sums over all replicas. Health and metrics are not counted there."""

    requests: int
    predictions: int

    def since(self, before: "Counts") -> "Counts":
        return Counts(self.requests - before.requests, self.predictions - before.predictions)


@dataclass(frozen=True)
class Replicas:
    """Every replica, by its address in the stack's network."""

    urls: tuple[str, ...]

    def counts(self) -> Counts:
        text = "\n".join(map(_read, self.urls))

        def total(name: str) -> int:
            return sum(int(float(n)) for n in re.findall(rf"(?m)^{name}{{.*}} (\S+)$", text))

        return Counts(total("api_requests_total"), total("api_predictions_total"))

    def settled(self, before: Counts, requests: int) -> Counts:
        """Return what was added, once that is as many requests as expected or 5 s have passed.

        A replica counts just after it has answered, so the client may be earlier.
        """
        deadline = time.monotonic() + 5
        while (added := self.counts().since(before)).requests != requests:
            if time.monotonic() > deadline:
                break
        return added


def _read(url: str) -> str:
    with direct.open_url(f"{url}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


@cache
def _context(ca: str, protocol: str, check_hostname: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols([protocol])
    context.check_hostname = check_hostname
    return context


@dataclass(frozen=True)
class Gateway:
    """Where the gateway is, seen from the neighbour, and the header that opens it."""

    neighbour: Neighbour
    host: str
    port: int
    http_port: int
    ca: str
    # user:password
    right: bytes = field(repr=False)

    @property
    def authorization(self) -> tuple[bytes, bytes]:
        return (b"Authorization", Hidden(b"Basic " + b64encode(self.right)))

    @contextmanager
    def tls(
        self, protocol: str = "http/1.1", source: str | None = None, sni: str | None = None
    ) -> Iterator[ssl.SSLSocket]:
        """Connect from the given address, or from a new one; check the certificate."""
        context = _context(self.ca, protocol, sni is None)
        with self.neighbour.socket(source) as plain:
            plain.settimeout(PATIENCE_S)
            plain.connect((self.neighbour.gateway, self.port))
            with context.wrap_socket(plain, server_hostname=sni or self.host) as wrapped:
                assert wrapped.selected_alpn_protocol() == protocol
                yield wrapped

    def ask(self, message: Message, host: str | None = None, sni: str | None = None) -> Answer:
        """Send one request by HTTP/1.1, from a new address."""
        with self.tls(sni=sni) as tls:
            tls.sendall(message.http1(host or self.host))
            with tls.makefile("rb") as stream:
                answer = read_answer(stream, message.method)
        assert answer is not None, f"no answer to {message}"
        return answer

    def ask_all(self, protocol: str, messages: Sequence[Message]) -> list[Answer | None]:
        """Send each request, a few from every address, so that none meets the rate limit."""
        ask = self._ask_http2 if protocol == "h2" else self._ask_http1
        # Neighbours in the list go different ways, since of batches only two may go at once.
        ways = -(-len(messages) // AT_ONCE)
        answers: list[Answer | None] = [None] * len(messages)
        # Side by side: the gateway lets each wrong password wait.
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            parts = pool.map(lambda way: ask(messages[way::ways]), range(ways))
            for way, part in enumerate(parts):
                answers[way::ways] = part
        return answers

    def _ask_http2(self, messages: Sequence[Message]) -> list[Answer | None]:
        with self.tls("h2") as tls:
            return Http2(tls).ask([(m.http2(self.host), m.body) for m in messages])

    def _ask_http1(self, messages: Sequence[Message]) -> list[Answer | None]:
        answers: list[Answer | None] = []
        while len(answers) < len(messages):
            # Again after each answer that closes the connection.
            with self.tls() as tls, tls.makefile("rb") as stream:
                for message in messages[len(answers) :]:
                    tls.sendall(message.http1(self.host))
                    answers.append(answer := read_answer(stream, message.method))
                    if answer is None or answer.headers.get("connection") == "close":
                        break
        return answers

    def at_once(self, messages: Sequence[Message], source: str | None = None) -> list[Answer]:
        """Send all of them from one address in one write, over HTTP/2."""
        with self.tls("h2", source) as tls:
            answers = Http2(tls).ask([(m.http2(self.host), m.body) for m in messages])
        assert None not in answers
        return [answer for answer in answers if answer]

    def predict(self, *headers: tuple[bytes, bytes]) -> Message:
        """Make a prediction with the right password, and these header fields beside it."""
        return Message("POST", "/predict", (JSON, self.authorization, *headers), SENTENCE)


class CannotAsk(Exception):
    """This gateway is not one that the raw requests here fit."""


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def running(stack: str, beside: Neighbour) -> Gateway:
    """Find the gateway of a stack on this machine.

    Raises:
        CannotAsk: with the reason.
    """
    record = json.loads(output("docker", "inspect", f"{stack}-nginx-1"))[0]
    published = {
        inside: binding[0] for inside, binding in record["NetworkSettings"]["Ports"].items()
    }
    if published["443/tcp"]["HostIp"] != "0.0.0.0":
        raise CannotAsk(f"the gateway is published on {published['443/tcp']['HostIp']} only")
    environment = dict(word.split("=", 1) for word in shlex.split(output(stack, "env")))
    host = urlsplit(environment["GATEWAY_URL"]).hostname
    if host != "localhost":
        raise CannotAsk(f"the raw requests name the host localhost, and this gateway is {host}")
    both = Hidden(f"{environment['API_USER']}:{environment['API_PASSWORD']}".encode())
    return Gateway(
        neighbour=beside,
        host=host,
        port=int(published["443/tcp"]["HostPort"]),
        http_port=int(published["80/tcp"]["HostPort"]),
        ca=environment["GATEWAY_CA"],
        right=both,
    )
