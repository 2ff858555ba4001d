"""Requests that two parsers may read in two ways, as raw bytes, each with a name.

Most carry a second request, without a password, where a proxy and the server behind it could
disagree about the end of the first. Behind each comes a last request that closes the connection,
so that a gateway that still waits for bytes gets some.
"""

from collections.abc import Iterator

from security.gateway import SENTENCE

Payloads = dict[str, bytes]

HIDDEN = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(SENTENCE), SENTENCE)
)
LAST = b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = chunk(SENTENCE) + b"0\r\n\r\n"

TRANSFER_ENCODINGS = (
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"transfer-encoding:chunked"),
    *(b"Transfer-Encoding : chunked", b" Transfer-Encoding: chunked"),
    *(b"\tTransfer-Encoding: chunked", b"Transfer-Encoding:\tchunked"),
    *(b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding:\x0cchunked"),
    *(b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunkedx", b"Transfer-Encoding:"),
    *(b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunked;q=1"),
    *(b"Transfer-Encoding: chunked,", b"Transfer-Encoding: ,chunked"),
    *(b"Transfer-Encoding: identity", b"Transfer-Encoding: identity, chunked"),
    *(b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: gzip, chunked"),
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    *(b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding\r\n: chunked"),
    *(b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked"),
    *(b"Transfer_Encoding: chunked", b"Content-Encoding: chunked", b"TE: chunked"),
    *(b"Transfer-Encoding: chun\x00ked", b"Transfer-Encoding: chunked\x00"),
    *(b"Transfer\x00-Encoding: chunked", b"Transfer-Encoding: \xefchunked"),
)

# %d and %x stand for the true length.
LENGTHS = (
    *(b"+%d", b"-%d", b"0%d", b"%d.0", b"%de0", b"0x%x", b"%d,%d", b"%d, %d", b"%d %d", b"%d;"),
    *(b'"%d"', b"%d\x00", b"\x00%d", b"%d\x0b", b"%d_", b"\xd9%d", b"", b"-1", b"-0", b"1" * 25),
    *(b"18446744073709551615", b"9223372036854775808", b"\r\n %d"),
    *(b"%d\r\nContent-Length: %d", b"0\r\nContent-Length: %d", b"%d\r\nContent-Length: 0"),
    *(b"%d\r\n Content-Length: 0", b"%d\nContent-Length: 0", b"%d\rContent-Length: 0"),
    *(b"%d\r\nContent-Length : 0", b"%d\r\nContent_Length: 0"),
)

# In place of the size line of the one chunk.
SIZES = (
    *(b"%x;a", b"%x;a=b", b'%x;a="\r\n"', b"%x ;a", b"%x;\n", b"%x;\r", b"%x\n", b"%x\r"),
    *(b"%x \r\n", b" %x", b"0x%x", b"+%x", b"-%x", b"000000%x", b"0" * 40 + b"%x", b"%x_", b"%xg"),
    *(b"\x00%x", b"%x\x00", b"", b"-1", b"1%x", b"%x.0", b"\r\n%x"),
    *(b"ffffffffffffffff", b"fffffffffffffffff", b"8000000000000000"),
)
# In place of the last chunk.
ENDS = (
    *(b"0\r\n", b"0\n\n", b"0\r\r", b"00\r\n\r\n", b"0;a\r\n\r\n", b"0 \r\n\r\n", b"-0\r\n\r\n"),
    *(b"0\r\nX: y\r\n\r\n", b"0\r\n X\r\n\r\n", b"0\r\n\x00\r\n\r\n", b""),
    *(b"0\r\nContent-Length: 9\r\n\r\n", b"0\r\nHost: foreign.example\r\n\r\n"),
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
)


def _lengths(size: int) -> Iterator[tuple[bytes, bytes]]:
    for template in LENGTHS:
        places = template.count(b"%d") + template.count(b"%x")
        yield template, template % ((size,) * places)


def framing(authorization: bytes) -> Payloads:
    """Both lengths, one of them, or none that counts: which body ends where."""
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += authorization + b"\r\n"
    found: Payloads = {}

    def add(name: str, fields: bytes, body: bytes, start: bytes = head) -> None:
        found[name] = start + fields + b"\r\n\r\n" + body + LAST

    for spelled in TRANSFER_ENCODINGS:
        inside = b"0\r\n\r\n" + HIDDEN
        add(f"CL.TE {spelled!r}", b"Content-Length: %d\r\n" % len(inside) + spelled, inside)
        outside = chunk(HIDDEN) + b"0\r\n\r\n"
        short = b"Content-Length: %d\r\n" % (outside.index(b"\r\n") + 2)
        add(f"TE.CL {spelled!r}", spelled + b"\r\n" + short.rstrip(), outside)
        add(f"TE {spelled!r}", spelled, CHUNKED + HIDDEN)
    for template, length in _lengths(len(SENTENCE)):
        add(f"length {template!r}", b"Content-Length: " + length, SENTENCE + HIDDEN)
    for template in SIZES:
        size = template % ((len(SENTENCE),) * template.count(b"%x"))
        end = b"" if size[-1:] in (b"\n", b"\r") else b"\r\n"
        body = size + end + SENTENCE + b"\r\n0\r\n\r\n"
        add(f"size {template!r}", b"Transfer-Encoding: chunked", body + HIDDEN)
    for end in ENDS:
        body = chunk(SENTENCE) + end
        add(f"end {end!r}", b"Transfer-Encoding: chunked", body + HIDDEN)
    add("chunk without its end", b"Transfer-Encoding: chunked", chunk(SENTENCE)[:-2] + b"0\r\n\r\n")
    old = head.replace(b"HTTP/1.1", b"HTTP/1.0")
    for name, fields in (
        ("1.0 with TE", b"Transfer-Encoding: chunked"),
        ("1.0 with TE, kept alive", b"Connection: keep-alive\r\nTransfer-Encoding: chunked"),
        ("1.0 with both", b"Content-Length: %d\r\nTransfer-Encoding: chunked" % len(CHUNKED)),
        ("1.0 without a length", b"Connection: keep-alive"),
    ):
        add(name, fields, CHUNKED + HIDDEN, old)
    add("length hidden by Connection", b"Connection: Content-Length\r\nContent-Length: 5", SENTENCE)
    add("expectation", b"Expect: 100-continue\r\nContent-Length: %d" % len(SENTENCE), SENTENCE)
    add("unknown expectation", b"Expect: x\r\nContent-Length: %d" % len(SENTENCE), SENTENCE)
    return found


# What stands between "\r\n" and "\r\n" in the head of a good request.
FIELDS = (
    *(b"No colon", b": no name", b"Spaced : name", b"A\x00: b", b"A: b\x00c", b"A: b\x01"),
    *(b"A: b\x7f", b"A\x80: b", b"A: \xff", b"(A): b", b"A: b\n c", b"A: b\r\n c", b"A: b\r\n\tc"),
    *(b"A: b\rc", b"A:\r\n", b"Host: localhost", b"Host: foreign.example", b"host:localhost"),
    *(b"Host : localhost", b"X" * 9000, b"X: " + b"y" * 9000, b"X: " + b"y" * 40000),
    *(b"\r\n".join([b"X: y"] * 3000), b"X" * 300 + b": y"),
    *(b"Connection: Host", b"Connection: Authorization", b"Connection: close, keep-alive, x"),
    *(b"Upgrade: websocket\r\nConnection: upgrade", b"Trailer: Authorization", b"Range: bytes=0-"),
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    *(b"X-HTTP-Method-Override: GET", b"X-Original-URL: /metrics", b"X-Rewrite-URL: /metrics"),
)


def heads(authorization: bytes) -> Payloads:
    """Header fields that are none, or too many, or too long."""
    body = b"Content-Length: %d\r\n\r\n%b" % (len(SENTENCE), SENTENCE)
    start = b"POST /predict HTTP/1.1\r\n"
    rest = b"Content-Type: application/json\r\n" + authorization + b"\r\n"
    found = {
        f"field {field[:40]!r}, {len(field)} long": (
            start + b"Host: localhost\r\n" + field + b"\r\n" + rest + body + LAST
        )
        for field in FIELDS
    }
    for host in (
        *(b"", b" ", b"foreign.example", b"localhost:443@foreign.example", b"localhost/x", b"a b"),
        *(
            b"localhost\x00",
            b"localhost,localhost",
            b"local\xffhost",
            b"..",
            b"[::1",
            b"localhost:x",
        ),
    ):
        found[f"host {host!r}"] = start + b"Host: " + host + b"\r\n" + rest + body + LAST
    found["no host"] = start + rest + body + LAST
    found["bare LF"] = (start + b"Host: localhost\r\n" + rest + body).replace(b"\r\n", b"\n") + LAST
    found["bare CR"] = (start + b"Host: localhost\r\n" + rest + body).replace(b"\r\n", b"\r") + LAST
    return found


# Each has its own 4xx or 5xx, in JSON: status, then the request line.
LINES = (
    (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    (400, b"SSH-2.0-client"),
    (400, b"garbage"),
    (400, b"GET"),
    (400, b"\x00\x00\x00"),
    (400, b"GET /% HTTP/1.1"),
    (400, b"GET /%zz HTTP/1.1"),
    (400, b"GET /%4 HTTP/1.1"),
    (400, b"GET /%00 HTTP/1.1"),
    (400, b"GET /../.. HTTP/1.1"),
    (400, b"GET /%2e%2e/x HTTP/1.1"),
    (400, b"GET /\x00 HTTP/1.1"),
    (400, b"GET predict HTTP/1.1"),
    (400, b"GET * HTTP/1.1"),
    (400, b"get / HTTP/1.1"),
    (400, b"GET\t/ HTTP/1.1"),
    (400, b"GE\x00T / HTTP/1.1"),
    (400, b"GET / HTTP/1.1 x"),
    (400, b"GET / HTTP/x"),
    (400, b"GET / http/1.1"),
    (505, b"GET / HTTP/11"),
    (400, b"GET / HTTP/1.1111"),
    (400, b"GET / HTTPS/1.1"),
    (400, b"GET http:// HTTP/1.1"),
    (400, b"GET http:///x HTTP/1.1"),
    (400, b"CONNECT localhost:443 HTTP/1.1"),
    (400, b"CONNECT 127.0.0.1:8000 HTTP/1.1"),
    (405, b"TRACE / HTTP/1.1"),
    (405, b"TRACE /predict HTTP/1.1"),
    (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1"),
    (414, b"GET /?" + b"a" * 100_000 + b" HTTP/1.1"),
    (414, b"GET " + b"/" * 20_000 + b" HTTP/1.1"),
    (505, b"GET / HTTP/2.0"),
    (505, b"GET / HTTP/9.9"),
    (505, b"GET / HTTP/3"),
)


def lines() -> dict[str, tuple[int, bytes]]:
    return {
        f"{line[:40]!r}, {len(line)} long": (
            status,
            line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        for status, line in LINES
    }


Fields = list[tuple[bytes, bytes]]


def _without(fields: Fields, name: bytes) -> Fields:
    return [(n, v) for n, v in fields if n != name]


def http2(authorization: bytes) -> dict[str, tuple[Fields, bytes]]:
    """Header fields that HTTP/2 forbids: what HTTP/1.1 would make of them behind the gateway."""
    pseudo = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"localhost")]
    pseudo += [(b":path", b"/predict")]
    rest = [(b"content-type", b"application/json"), (b"authorization", authorization)]
    good = pseudo + rest
    found: dict[str, tuple[Fields, bytes]] = {}

    def add(name: str, fields: Fields, body: bytes = SENTENCE) -> None:
        found[f"h2 {name}"] = (fields, body)

    for name, value in (
        *((b"connection", b"close"), (b"connection", b"authorization"), (b"keep-alive", b"x")),
        *((b"proxy-connection", b"close"), (b"upgrade", b"h2c"), (b"te", b"gzip")),
        *((b"host", b"foreign.example"), (b"host", b"localhost"), (b"X-Upper", b"case")),
        *((b"a\r\nb", b"c"), (b"a:b", b"c"), (b"a b", b"c"), (b"", b"c"), (b"a\x00", b"c")),
        *((b"a", b"b\r\nx-experiment-group: debug"), (b"a", b"b\nc"), (b"a", b"b\rc")),
        *((b"a", b"b\x00c"), (b"a", b" b"), (b":unknown", b"x"), (b":status", b"200")),
        *((b":path", b"/metrics"), (b":method", b"GET"), (b":authority", b"foreign.example")),
        *((b"a", b"b\r\n\r\n" + HIDDEN), (b"content-length", b"-1"), (b"content-length", b"+38")),
        *((b"content-length", b"0"), (b"content-length", b"9999"), (b"expect", b"100-continue")),
    ):
        add(f"{name!r}: {value[:40]!r}", [*good, (name, value)])
    for name, value in (
        *((b":path", b"/predict HTTP/1.1\r\nHost: x\r\n\r\n"), (b":path", b"/predict HTTP/1.1")),
        *((b":path", b""), (b":path", b"predict"), (b":path", b"*"), (b":path", b"/a b")),
        *(
            (b":method", b"POST /predict HTTP/1.1"),
            (b":method", b"POST\r\nA: b"),
            (b":method", b""),
        ),
        *(
            (b":authority", b"localhost\r\nA: b"),
            (b":authority", b"localhost/x"),
            (b":scheme", b""),
        ),
        *((b":authority", b""), (b":scheme", b"http"), (b":scheme", b"https://foreign.example/x?")),
    ):
        changed = [(n, value if n == name else v) for n, v in good]
        add(f"{name!r} is {value[:40]!r}", changed)
    for name, value in pseudo:
        add(f"no {name!r}", _without(good, name))
        add(f"{name!r} twice", [*pseudo, (name, value), *rest])
        add(f"{name!r} last", [*_without(good, name), (name, value)])
    # The classic pair: a length, or an encoding, that the next hop would believe.
    length = (b"content-length", b"%d" % len(SENTENCE))
    add("H2.CL", [*good, length], SENTENCE + HIDDEN)
    add("H2.CL twice", [*good, length, (b"content-length", b"0")])
    add("H2.TE", [*good, (b"transfer-encoding", b"chunked")], b"0\r\n\r\n" + HIDDEN)
    add("H2.TE by injection", [*good, (b"a", b"b\r\ntransfer-encoding: chunked")], CHUNKED + HIDDEN)
    add("H2.TE in the name", [*good, (b"transfer-encoding: chunked\r\na", b"b")], CHUNKED + HIDDEN)
    return found
