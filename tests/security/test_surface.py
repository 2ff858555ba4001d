"""What a stranger can touch: names, methods, paths, error answers, ports."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pytest

from security.gateway import JSON, PATIENCE_S, SENTENCE, Gateway, Replicas
from security.wire import Answer, Message, read_all, read_answer

FOREIGN_HOSTS = (
    *("foreign.example", "localhost.foreign.example", "foreign-localhost", "localhost,x", "0"),
    *("0.0.0.0", "127.0.0.2", "127.1", "2130706433", "169.254.169.254", "[::]", "[::2]", "nginx"),
    *("gateway", "api-v1-1", "prometheus", "host.docker.internal", "_", "*", "xn--localhost"),
)
FOREIGN_SNI = ("foreign.example", "localhost.foreign.example", "gateway", "xn--localhost")
PRIVATE_PATHS = (
    *("/metrics", "/stub_status", "/nginx_status", "/basic_status", "/server-status", "/status"),
    *("/healthz", "/livez", "/readyz", "/version", "/_error", "/api/v1/query", "/-/healthy"),
    *("/redoc", "/.git/config", "/.env", "/htpasswd", "/.htpasswd", "/nginx.conf", "/etc/passwd"),
)


@contextmanager
def plain(gateway: Gateway, port: int) -> Iterator[BinaryIO]:
    """Connect without TLS, from a new address."""
    with gateway.neighbour.socket() as tcp:
        tcp.settimeout(PATIENCE_S)
        tcp.connect((gateway.neighbour.gateway, port))
        with tcp.makefile("rwb", buffering=0) as stream:
            yield cast(BinaryIO, stream)


def redirected(gateway: Gateway, request: bytes) -> Answer:
    """Send raw bytes to the port of plain HTTP."""
    with plain(gateway, gateway.http_port) as stream:
        stream.write(request)
        answer = read_answer(stream)
    assert answer
    return answer


# ---- names --------------------------------------------------------------------------------------


def test_a_foreign_host_is_misdirected_though_the_password_is_right(
    gateway: Gateway, replicas: Replicas
) -> None:
    hosts = [*FOREIGN_HOSTS, gateway.neighbour.gateway]
    before = replicas.counts()
    answers = {host: gateway.ask(gateway.predict(), host=host) for host in hosts}
    assert {host: a.status for host, a in answers.items()} == dict.fromkeys(hosts, 421)
    assert replicas.counts().since(before) == (0, 0)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("sni", FOREIGN_SNI)
def test_a_connection_for_a_foreign_name_is_not_served(
    gateway: Gateway, replicas: Replicas, sni: str, host: str
) -> None:
    before = replicas.counts()
    assert gateway.ask(gateway.predict(), host=host, sni=sni).status == 421
    assert replicas.counts().since(before) == (0, 0)


@pytest.mark.parametrize("host", ["foreign.example", "localhost.foreign.example", "x@y.example"])
@pytest.mark.parametrize(
    "target", ["/x", "//foreign.example/x", "/\\foreign.example", "http://y/x"]
)
def test_a_redirect_leads_to_a_name_of_ours(gateway: Gateway, host: str, target: str) -> None:
    for method, status in (("GET", 301), ("POST", 308)):
        answer = redirected(gateway, Message(method, target).http1(host))
        assert answer.status == status
        assert re.match(rf"https://{gateway.host}(:\d+)?/", answer.headers["location"])


# ---- protocols ----------------------------------------------------------------------------------


def test_http_2_without_tls_is_not_spoken(gateway: Gateway) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
    answer = redirected(gateway, preface)
    assert answer.status in (400, 505)


def test_an_upgrade_to_another_protocol_is_ignored(gateway: Gateway) -> None:
    for upgrade in (b"h2c", b"websocket", b"TLS/1.0"):
        fields = (
            (b"Connection", b"Upgrade, HTTP2-Settings"),
            (b"Upgrade", upgrade),
            (b"HTTP2-Settings", b"AAMAAABkAAQAAP__"),
        )
        assert gateway.ask(Message("GET", "/x", fields)).status == 404
        request = Message("GET", "/x", fields).http1(gateway.host)
        assert redirected(gateway, request).status == 301


def test_plain_http_on_the_port_of_tls_is_refused(gateway: Gateway) -> None:
    with plain(gateway, gateway.port) as stream:
        stream.write(gateway.predict().http1(gateway.host))
        (answer,) = read_all(stream)
    assert answer.status == 400
    assert answer.document["request_id"] == answer.headers["x-request-id"]


# ---- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PRIVATE_PATHS)
def test_what_is_private_is_not_found_with_or_without_the_password(
    gateway: Gateway, replicas: Replicas, path: str
) -> None:
    before = replicas.counts()
    for headers in ((), (gateway.authorization,)):
        answer = gateway.ask(Message("GET", path, headers))
        assert (answer.status, answer.replica) == (404, "")
    assert replicas.counts().since(before) == (0, 0)


@pytest.mark.parametrize(
    "path",
    [
        *("/openapi.json", "/docs", "/docs/swagger-ui.css", "/"),
        *(f"/status/{name}" for name in ("status.js", "now.json", "series.json", "alerts.json")),
    ],
)
def test_pages_ask_for_the_password(gateway: Gateway, path: str) -> None:
    assert gateway.ask(Message("GET", path)).status == 401
    assert gateway.ask(Message("GET", path, (gateway.authorization,))).status == 200


@pytest.mark.parametrize(
    "addition",
    [
        "?query=prometheus_build_info",
        "?query=up&time=1",
        "%3fquery=up",
        "/../../query?query=up",
        ";",
    ],
)
def test_the_status_pages_questions_cannot_be_changed(gateway: Gateway, addition: str) -> None:
    path = f"/status/now.json{addition}"
    answer = gateway.ask(Message("GET", path, (gateway.authorization,)))
    if answer.status == 404:
        return
    assert answer.status == 200
    found = json.loads(answer.body)["data"]["result"]
    names = {series["metric"]["__name__"] for series in found}
    # Its own question, as if nothing had been added.
    assert {"up", "api_model_info"} <= names
    assert "prometheus_build_info" not in names
    assert float(found[0]["value"][0]) > 1e9


# ---- error answers ------------------------------------------------------------------------------


def errors(gateway: Gateway) -> dict[str, tuple[int, Message]]:
    """Forty kinds of request that get an error, from the gateway and from a replica."""
    auth = gateway.authorization
    signed = (JSON, auth)

    def predict(body: bytes, *headers: tuple[bytes, bytes], path: str = "/predict") -> Message:
        return Message("POST", path, headers or signed, body)

    return {
        "no such path": (404, Message("GET", "/nothing")),
        "status page without password": (401, Message("GET", "/")),
        "figures without password": (401, Message("GET", "/status/now.json")),
        "POST of figures": (405, Message("POST", "/status/now.json", signed, SENTENCE)),
        "no password": (401, predict(SENTENCE, JSON)),
        "wrong password": (401, predict(SENTENCE, JSON, (b"Authorization", b"Basic YTpi"))),
        "no colon": (401, predict(SENTENCE, JSON, (b"Authorization", b"Basic YQ=="))),
        "not base64": (401, predict(SENTENCE, JSON, (b"Authorization", b"Basic !"))),
        "another scheme": (401, predict(SENTENCE, JSON, (b"Authorization", b"Bearer x"))),
        "batch without password": (401, predict(b"{}", JSON, path="/predict/batch")),
        "documentation without password": (401, Message("GET", "/docs")),
        "GET": (405, Message("GET", "/predict", (auth,))),
        "PUT": (405, Message("PUT", "/predict", signed, SENTENCE)),
        "DELETE": (405, Message("DELETE", "/predict", (auth,))),
        "PATCH": (405, Message("PATCH", "/predict", signed, SENTENCE)),
        "OPTIONS": (405, Message("OPTIONS", "/predict", (auth,))),
        "PROPFIND": (405, Message("PROPFIND", "/predict", (auth,))),
        "TRACE": (405, Message("TRACE", "/predict", (auth,))),
        "POST to the documentation": (405, Message("POST", "/docs", signed, SENTENCE)),
        "bad escape": (400, Message("GET", "/%zz")),
        "NUL in the path": (400, Message("GET", "/%00")),
        "above the root": (400, Message("GET", "/../..")),
        "no slash": (400, Message("GET", "predict")),
        "lower-case method": (400, Message("get", "/")),
        "long path": (414, Message("GET", "/" + "a" * 9000)),
        "long field": (400, Message("GET", "/", ((b"X", b"y" * 9000),))),
        "two hosts": (400, Message("GET", "/", ((b"Host", b"localhost"),))),
        "unknown transfer coding": (501, Message("POST", "/", ((b"Transfer-Encoding", b"x"),))),
        "two lengths": (400, Message("POST", "/", ((b"Content-Length", b"1"),), b"22")),
        "negative length": (400, Message("POST", "/", ((b"Content-Length", b"-1"),))),
        "foreign host": (421, Message("GET", "https://foreign.example/predict")),
        "large body": (413, Message("POST", "/predict", (auth, (b"Content-Length", b"99999999")))),
        "no JSON": (400, predict(b"x")),
        "empty body": (400, predict(b" ")),
        "NaN": (422, predict(b'{"sentence": NaN}')),
        "a list": (422, predict(b"[]")),
        "no sentence": (422, predict(b"{}")),
        "empty sentence": (422, predict(b'{"sentence": ""}')),
        "a number": (422, predict(b'{"sentence": 1}')),
        "long sentence": (422, predict(b'{"sentence": "' + b"a" * 5001 + b'"}')),
        "field twice": (422, predict(b'{"sentence": "a", "sentence": "b"}')),
        "lone surrogate": (400, predict(b'{"sentence": "\\ud800"}')),
        "not UTF-8": (400, predict(b'{"sentence": "\xff"}')),
        "no media type": (415, predict(SENTENCE, auth)),
        "another media type": (415, predict(SENTENCE, auth, (b"Content-Type", b"text/plain"))),
        "compressed": (415, predict(SENTENCE, *signed, (b"Content-Encoding", b"gzip"))),
        "empty batch": (422, predict(b'{"sentences": []}', path="/predict/batch")),
    }  # fmt: skip


# A product with its version, an address of the stack, a trace, a path of the file system.
TELLING = re.compile(
    rb"(nginx|uvicorn|python|openssl)/\d|\d+\.\d+\.\d+|172\.\d+|traceback|\.py\b|<html|/etc/|/venv",
    re.IGNORECASE,
)


def test_forty_kinds_of_error_are_json_with_a_request_id_and_tell_nothing(gateway: Gateway) -> None:
    kinds = errors(gateway)
    assert len(kinds) >= 40
    answers = {name: gateway.ask(message) for name, (_, message) in kinds.items()}
    statuses = {name: answer.status for name, answer in answers.items()}
    assert statuses == {name: status for name, (status, _) in kinds.items()}
    for name, answer in answers.items():
        assert answer.headers["content-type"].startswith("application/json"), name
        assert sorted(answer.document) == ["detail", "error", "request_id"], name
        assert answer.document["request_id"] == answer.headers["x-request-id"], name
        told = answer.body + repr(answer.headers).encode()
        assert not TELLING.search(told), (name, TELLING.search(told))
