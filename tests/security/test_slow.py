"""A thousand slow connections of each kind: others are served meanwhile, and they are ended."""

import select
import socket
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import NamedTuple

from security.gateway import JSON, PATIENCE_S, Gateway
from security.wire import Hidden, Message

NUMBER = 1000
# The gateway's own time-out is 10 s, from each client's last piece.
ENDED_S = PATIENCE_S + 3
# Between two rounds, in each of which every slow client sends its next piece.
PACE_S = 1
HONEST_EACH_ROUND = 10


class Slow(NamedTuple):
    """What such a client sends at once, and then again and again; it never reads."""

    first: bytes
    more: bytes = b""
    tls: bool = True


def kinds(gateway: Gateway) -> dict[str, Slow]:
    """Make the three kinds that slowhttptest knows."""
    # With the password: without it the gateway would answer before it waits for the body.
    fields = (JSON, gateway.authorization, (b"Content-Length", b"60000"))
    body = Message("POST", "/predict", fields).http1(gateway.host) + b'{"sentence": "'
    # Redirects repeat the address: the largest answers that need no password.
    large = Message("GET", f"/?{'a' * 8000}").http1(gateway.host) * 16
    headers = Message("POST", "/predict").http1(gateway.host)[:-2]
    return {
        "sending headers": Slow(headers, b"X-Next: 1\r\n"),
        "sending the body": Slow(Hidden(body)),
        "reading": Slow(large, tls=False),
    }


def connect(gateway: Gateway, client: Slow, source: str, stack: ExitStack) -> socket.socket:
    """Connect and send the first piece."""
    if client.tls:
        made: socket.socket = stack.enter_context(gateway.tls(source=source))
    else:
        made = stack.enter_context(gateway.neighbour.socket(source))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(PATIENCE_S)
        made.connect((gateway.neighbour.gateway, gateway.http_port))
    made.setblocking(False)
    made.send(client.first)
    return made


def test_a_thousand_slow_clients_of_each_kind_keep_nobody_waiting_and_are_ended(
    gateway: Gateway,
) -> None:
    poll, waiting = select.poll(), dict[int, tuple[str, Slow, socket.socket]]()
    with ExitStack() as stack:
        for kind, client in kinds(gateway).items():
            # All of a kind from one address.
            source = gateway.neighbour.address()
            for _ in range(NUMBER):
                # One that is not let in does not harm anybody; the others are asked below.
                with suppress(OSError):
                    made = connect(gateway, client, source, stack)
                    waiting[made.fileno()] = kind, client, made
                    poll.register(made, select.POLLRDHUP)
        connected = Counter(kind for kind, _, _ in waiting.values())
        deadline = time.monotonic() + ENDED_S
        while waiting and time.monotonic() < deadline:
            again = time.monotonic() + PACE_S
            for _ in range(HONEST_EACH_ROUND):
                # Each from an address of its own.
                assert gateway.ask(gateway.predict()).status == 200
            # No wait for anything: a piece a second is what makes these clients slow.
            time.sleep(max(0, again - time.monotonic()))
            for number, _ in poll.poll(0):
                poll.unregister(number)
                del waiting[number]
            for _, client, made in waiting.values():
                if client.more:
                    with suppress(OSError):
                        made.send(client.more)
        left = Counter(kind for kind, _, _ in waiting.values())
    assert connected == dict.fromkeys(kinds(gateway), NUMBER)
    assert not left, f"the gateway did not end {dict(left)}"
