"""HTTP/1.1 and HTTP/2 byte by byte: what no client library would send, and all that comes back."""

import json
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

Fields = Sequence[tuple[bytes, bytes]]
# How a connection ends that the other side closes while we still write or read.
CLOSED = (ConnectionError, ssl.SSLEOFError)


class Hidden(bytes):
    """Bytes that no failure message of a test shows: a password is in them."""

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True)
class Answer:
    """One response; names of header fields are in lower case, a repeated one is joined."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def replica(self) -> str:
        """The replica that answered, or nothing where it was the gateway itself."""
        return self.headers.get("x-served-by", "")

    @property
    def document(self) -> dict[str, object]:
        """The body as a JSON object."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Message:
    """A request. What is in it stays out of failure messages, since a password may be."""

    method: str
    target: str
    headers: Fields = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def http1(self, host: str) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1".encode("latin-1")]
        lines += [b"Host: " + host.encode("latin-1")]
        lines += [name + b": " + value for name, value in self.headers]
        if self.body:
            lines.append(b"Content-Length: %d" % len(self.body))
        return Hidden(b"\r\n".join(lines) + b"\r\n\r\n" + self.body)

    def http2(self, host: str) -> list[tuple[bytes, bytes]]:
        fields = [
            (b":method", self.method.encode("latin-1")),
            (b":scheme", b"https"),
            (b":authority", host.encode("latin-1")),
            (b":path", self.target.encode("latin-1")),
            *((name.lower(), value) for name, value in self.headers),
        ]
        if self.body:
            fields.append((b"content-length", b"%d" % len(self.body)))
        return fields


def read_answer(stream: BinaryIO, method: str = "GET") -> Answer | None:
    """Read one HTTP/1.1 response; None at the end of the connection."""
    line = stream.readline()
    if not line:
        return None
    if not line.startswith(b"HTTP/1."):
        # HTTP/0.9 has a body and nothing else.
        return Answer(0, {}, line + stream.read())
    status = int(line.split()[1])
    headers: dict[str, str] = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        key = name.lower()
        headers[key] = ", ".join(filter(None, (headers.get(key), value.strip())))
    if status // 100 == 1 and status != 101:
        return read_answer(stream, method)
    return Answer(status, headers, _body(stream, headers, status, method))


def _body(stream: BinaryIO, headers: dict[str, str], status: int, method: str) -> bytes:
    if method == "HEAD" or status in (101, 204, 304):
        return b""
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(stream.readline(), 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
        return body
    if "content-length" in headers:
        return stream.read(int(headers["content-length"]))
    return stream.read()


def read_all(stream: BinaryIO) -> list[Answer]:
    """Read responses until the other side closes.

    Raises:
        TimeoutError: it does not, within the socket's time-out.
    """
    answers = []
    try:
        while (answer := read_answer(stream)) is not None:
            answers.append(answer)
    except CLOSED:
        pass  # closed with our bytes unread: what was read before counts
    return answers


class Http2:
    """The client's side of one HTTP/2 connection; h2 itself checks nothing of what is sent."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls
        self._h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
            )
        )
        self._h2.initiate_connection()

    def ask(self, requests: Sequence[tuple[Fields, bytes]]) -> list[Answer | None]:
        """Send header fields and body of each request, all in one write; None is a refused one."""
        streams = []
        for fields, body in requests:
            stream = self._h2.get_next_available_stream_id()
            # hpack writes the repr of what is no plain bytes.
            plain = [(bytes(name), bytes(value)) for name, value in fields]
            self._h2.send_headers(stream, plain, end_stream=not body)
            if body:
                self._h2.send_data(stream, body, end_stream=True)
            streams.append(stream)
        with suppress(*CLOSED):
            self._send()
        return self._receive(streams)

    def _send(self) -> None:
        if data := self._h2.data_to_send():
            self._tls.sendall(data)

    def _receive(self, streams: list[int]) -> list[Answer | None]:
        heads: dict[int, list[tuple[bytes, bytes]]] = {}
        bodies = dict.fromkeys(streams, b"")
        waiting = set(streams)
        try:
            while waiting and (data := self._tls.recv(65536)):
                for event in self._h2.receive_data(data):
                    match event:
                        case ResponseReceived(stream_id=int(stream), headers=list(headers)):
                            heads[stream] = headers
                        case DataReceived(stream_id=int(stream), data=bytes(part)):
                            bodies[stream] += part
                        case StreamEnded(stream_id=int(stream)):
                            waiting.discard(stream)
                        case StreamReset(stream_id=int(stream)):
                            waiting.discard(stream)
                        case ConnectionTerminated():
                            waiting.clear()
                self._send()
        except (*CLOSED, ProtocolError):
            pass  # refused as a whole
        return [_answer(heads.get(stream), bodies[stream]) for stream in streams]


def _answer(head: list[tuple[bytes, bytes]] | None, body: bytes) -> Answer | None:
    if head is None:
        return None
    fields = {name.decode(): value.decode("latin-1") for name, value in head}
    return Answer(int(fields.pop(":status")), fields, body)
