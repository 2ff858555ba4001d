"""Ten requests a second for each address and five more at once, whatever the client says."""

import subprocess
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from security.conftest import STACK
from security.gateway import AT_ONCE, JSON, RATE, SENTENCE, Gateway, Replicas, output
from security.wire import Answer, Message, read_answer

# Long enough for three reloads: a bucket that one of them empties would show.
FLOOD_S, FLOOD_RATE = 30, 50
# After so many requests.
RELOADS = (300, 700, 1100)
# Where proxies and applications look for the client's address.
FORGED = (
    *("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "Client-IP"),
    *("CF-Connecting-IP", "Fastly-Client-IP", "X-Cluster-Client-IP", "X-Originating-IP", "Via"),
    *("X-Remote-IP", "X-Remote-Addr", "X-Forwarded", "Forwarded-For", "Remote-Addr"),
)
PASSWORD_PATHS = ("/predict", "/predict/batch", "/docs", "/docs/swagger-ui.css", "/openapi.json")
UNKNOWN = Message("POST", "/predict", (JSON,), SENTENCE)
RELOAD = ("nginx", "-c", "/etc/gateway/current/nginx.conf", "-s", "reload")


class Round(NamedTuple):
    """How many answers of each status came back, and how long that took."""

    statuses: Counter[int]
    seconds: float

    def holds_the_limit(self, passing: int) -> bool:
        """Tell whether one, the burst and what was refilled got `passing`, the rest 429."""
        most = AT_ONCE + int(RATE * self.seconds)
        return set(self.statuses) == {passing, 429} and AT_ONCE <= self.statuses[passing] <= most


def ask(gateway: Gateway, messages: list[Message], source: str | None = None) -> Round:
    """Ask all at once from one address."""
    source = source or gateway.neighbour.address()
    started = time.monotonic()
    answers: list[Answer] = []
    # A connection of HTTP/2 takes 128 at once.
    for n in range(0, len(messages), 100):
        answers += gateway.at_once(messages[n : n + 100], source)
    return Round(Counter(a.status for a in answers), time.monotonic() - started)


def test_of_many_predictions_at_once_one_and_the_burst_pass(
    gateway: Gateway, replicas: Replicas
) -> None:
    before = replicas.counts()
    found = ask(gateway, [gateway.predict()] * 40)
    assert found.holds_the_limit(200), found
    passed = found.statuses[200]
    assert replicas.settled(before, passed) == (passed, passed)


@pytest.mark.parametrize("first", PASSWORD_PATHS)
def test_every_location_with_a_password_draws_on_one_budget(gateway: Gateway, first: str) -> None:
    others = [path for path in PASSWORD_PATHS if path != first]
    found = ask(gateway, [Message("GET", path) for path in [first] * AT_ONCE + others * 4])
    assert found.holds_the_limit(401), found


@pytest.mark.parametrize("path", ["/", "/status/status.js", "/status/now.json"])
def test_the_status_page_waits_its_turn_on_the_same_budget(gateway: Gateway, path: str) -> None:
    """Its requests queue, up to 20, where others are refused; together they are no faster."""
    found = ask(gateway, [Message("GET", path)] * 30 + [UNKNOWN] * 20)
    assert found.holds_the_limit(401), found


def test_another_address_has_its_own_budget(gateway: Gateway) -> None:
    assert ask(gateway, [UNKNOWN] * 40).holds_the_limit(401)
    assert ask(gateway, [UNKNOWN] * AT_ONCE).statuses == {401: AT_ONCE}


def test_addresses_that_a_client_claims_change_nothing(gateway: Gateway) -> None:
    def forged(n: int) -> Message:
        value = b"for=203.0.113.%d" % n if n % 2 else b"203.0.113.%d" % n
        fields = [(name.encode(), value) for name in FORGED]
        return Message("POST", "/predict", (JSON, *fields), SENTENCE)

    found = ask(gateway, [forged(n) for n in range(100)])
    assert found.holds_the_limit(401), found


def test_a_429_says_when_to_come_again(gateway: Gateway) -> None:
    answers = gateway.at_once([UNKNOWN] * 40)
    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) > 30
    for answer in refused:
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["ratelimit-policy"].startswith('"requests";q=10;w=1')
        assert answer.document["error"] == "too_many_requests"
        assert answer.document["request_id"] == answer.headers["x-request-id"]


# ---- guessing -----------------------------------------------------------------------------------


def guess(user: bytes, password: bytes) -> Message:
    header = (b"Authorization", b"Basic " + b64encode(user + b":" + password))
    return Message("POST", "/predict", (JSON, header), SENTENCE)


def test_of_200_guessed_passwords_only_the_limits_share_is_looked_at(gateway: Gateway) -> None:
    user = gateway.right.partition(b":")[0]
    # A wrong password is 401 once its hash was compared, and 429 before that.
    found = ask(gateway, [guess(user, b"guess-%d" % n) for n in range(200)])
    assert found.holds_the_limit(401), found


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_a_known_and_an_unknown_user_get_the_same_answer(gateway: Gateway, protocol: str) -> None:
    user = gateway.right.partition(b":")[0]
    answers = gateway.ask_all(protocol, [guess(user, b"wrong"), guess(b"nobody-" + user, b"wrong")])

    def constant(answer: Answer | None) -> tuple[int, dict[str, str], bytes]:
        assert answer
        headers = dict(answer.headers)
        own = headers.pop("x-request-id")
        headers.pop("date")
        return answer.status, headers, answer.body.replace(own.encode(), b"")

    known, unknown = map(constant, answers)
    assert known == unknown
    assert known[0] == 401


# ---- over time ----------------------------------------------------------------------------------


def workers() -> set[str]:
    """Return the process ids of the gateway's workers that take connections."""
    lines = output("docker", "top", f"{STACK}-nginx-1", "-o", "pid,args").splitlines()
    return {
        line.split()[0]
        for line in lines
        if "worker process" in line and "shutting down" not in line
    }


def statuses_at_pace(gateway: Gateway, source: str, number: int) -> Iterator[int]:
    """Ask one after the other at FLOOD_RATE, on a new connection whenever the old one ends."""
    started, asked = time.monotonic(), 0
    while asked < number:
        with gateway.tls(source=source) as tls, tls.makefile("rb") as stream:
            while asked < number:
                # The pace is what the test is about: a flood of a known rate.
                time.sleep(max(0, started + asked / FLOOD_RATE - time.monotonic()))
                try:
                    tls.sendall(UNKNOWN.http1(gateway.host))
                    answer = read_answer(stream)
                except ConnectionError:
                    break
                if answer is None:
                    break
                asked += 1
                yield answer.status


def test_a_flood_gets_its_rate_and_burst_and_a_reload_adds_nothing(gateway: Gateway) -> None:
    number, source = FLOOD_S * FLOOD_RATE, gateway.neighbour.address()
    before, reloads = workers(), list[subprocess.Popen[bytes]]()
    statuses: Counter[int] = Counter()
    started = time.monotonic()
    for n, status in enumerate(statuses_at_pace(gateway, source, number)):
        statuses[status] += 1
        if n in RELOADS:
            command = ("docker", "exec", f"{STACK}-nginx-1", *RELOAD)
            reloads.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
    seconds = time.monotonic() - started
    assert [reload.wait(timeout=30) for reload in reloads] == [0] * len(RELOADS)
    assert not before & workers(), "the gateway did not reload"
    assert set(statuses) == {401, 429}
    most = AT_ONCE + RATE * seconds
    assert 0.98 * most <= statuses[401] <= most
