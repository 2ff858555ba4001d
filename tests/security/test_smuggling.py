"""What two parsers may read in two ways is read in one, or refused: nothing hides in a request."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import pytest

from security import payloads
from security.gateway import Counts, Gateway, Replicas
from security.wire import CLOSED, Answer, Hidden, Http2, read_all

# Most wait for the gateway only; a few until it gives the client up.
AT_A_TIME = 64
ONE_RECORD = 16384


class Outcome(NamedTuple):
    """What came back for one payload, and whether the connection came to an end."""

    answers: list[Answer]
    ended: bool = True


class Outcomes(NamedTuple):
    by_name: dict[str, Outcome]
    counted: Counts

    @property
    def answers(self) -> list[tuple[str, Answer]]:
        return [(name, answer) for name, o in self.by_name.items() for answer in o.answers]


def is_counted(answer: Answer) -> bool:
    """Tell whether the replica's application answered; its HTTP parser refuses without counting."""
    return bool(answer.replica) and b"Send a well-formed HTTP/1.1 request" not in answer.body


def send_bytes(gateway: Gateway, payload: bytes) -> Outcome:
    with gateway.tls() as tls, tls.makefile("rb") as stream:
        try:
            # A refusal may come before the last byte is sent.
            with suppress(*CLOSED):
                tls.sendall(payload)
            return Outcome(read_all(stream))
        except TimeoutError:
            return Outcome([], ended=False)


def send_fields(gateway: Gateway, fields: payloads.Fields, body: bytes) -> Outcome:
    with gateway.tls("h2") as tls:
        try:
            return Outcome([answer for answer in Http2(tls).ask([(fields, body)]) if answer])
        except TimeoutError:
            return Outcome([], ended=False)


@pytest.fixture(scope="module")
def outcomes(gateway: Gateway, replicas: Replicas) -> Outcomes:
    """Every payload, each from an address of its own, and what the replicas counted meanwhile."""
    name, value = gateway.authorization
    sends: dict[str, Callable[[], Outcome]] = {}
    field = Hidden(name + b": " + value)
    for key, payload in (payloads.framing(field) | payloads.heads(field)).items():
        sends[key] = partial(send_bytes, gateway, Hidden(payload))
    for key, (_, payload) in payloads.lines().items():
        sends[key] = partial(send_bytes, gateway, payload)
    for key, (fields, body) in payloads.http2(value).items():
        sends[key] = partial(send_fields, gateway, fields, body)
    before = replicas.counts()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = dict(zip(sends, pool.map(lambda send: send(), sends.values()), strict=True))
    expected = sum(is_counted(a) for o in found.values() for a in o.answers)
    return Outcomes(found, replicas.settled(before, expected))


def test_there_are_many_and_some_of_them_are_good(outcomes: Outcomes) -> None:
    assert len(outcomes.by_name) >= 300
    assert sum(answer.status == 200 for _, answer in outcomes.answers) >= 30


def test_replicas_count_as_many_requests_as_the_client_has_answers(outcomes: Outcomes) -> None:
    answers = [answer for _, answer in outcomes.answers if is_counted(answer)]
    predicted = [answer for answer in answers if answer.status == 200]
    assert outcomes.counted == (len(answers), len(predicted))


def test_no_request_that_hides_in_another_reaches_a_replica(outcomes: Outcomes) -> None:
    # The hidden one has no password: whoever takes it for a request has to ask for one.
    several = {
        name: [answer.status for answer in outcome.answers]
        for name, outcome in outcomes.by_name.items()
        if sum(bool(answer.replica) for answer in outcome.answers) > 1
    }
    assert several == {}


def test_every_connection_comes_to_an_end(outcomes: Outcomes) -> None:
    assert [name for name, outcome in outcomes.by_name.items() if not outcome.ended] == []


def test_nothing_malformed_is_an_error_of_the_server(outcomes: Outcomes) -> None:
    # 501 and 505 say what is not known here.
    wrong = [
        (name, answer.status)
        for name, answer in outcomes.answers
        if answer.status not in (200, 400, 401, 404, 405, 414, 415, 421, 422, 501, 505)
    ]
    assert wrong == []


def test_every_error_of_the_gateway_is_json_with_the_request_id(outcomes: Outcomes) -> None:
    errors = [(n, a) for n, a in outcomes.answers if a.status >= 400 and not a.replica]
    assert len(errors) > 200
    for name, answer in errors:
        assert answer.headers["content-type"] == "application/json", name
        assert sorted(answer.document) == ["detail", "error", "request_id"], name
        assert answer.document["request_id"] == answer.headers["x-request-id"], name


def test_every_malformed_request_line_gets_its_own_status(outcomes: Outcomes) -> None:
    for name, (status, payload) in payloads.lines().items():
        found = [answer.status for answer in outcomes.by_name[name].answers]
        # An answer to more than one record of TLS may be lost: the rest comes to a closed door.
        assert found == [status] or (found == [] and len(payload) > ONE_RECORD), name
