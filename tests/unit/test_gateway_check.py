"""The module that asks the gateway: what it accepts, and what its failure says."""

import base64
import http.server
import json
import os
import shlex
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from direct import Gateway

MODULE = Path(__file__).resolve().parents[2] / "plugins/modules/gateway_check.py"
USER, PASSWORD = "admin", 'it\'s "secret" $HOME'
NAME = "gateway.example.org"
# Nobody listens there: who asks it was led by a proxy of the environment.
PROXIES = {
    name: "http://127.0.0.1:9"
    for lower in ("http_proxy", "https_proxy", "all_proxy")
    for name in (lower, lower.upper())
}

Check = Callable[..., dict[str, Any]]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers what the test says, and knows what it was asked."""

    protocol_version = "HTTP/1.1"
    status, text = 200, json.dumps({"prediction value": "happiness"})
    asked: list[tuple[str, str, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        cls = type(self)
        cls.asked.append((self.command, self.path, self.headers["Host"]))
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        known = self.headers["Authorization"] == f"Basic {token}"
        body = (cls.text if known else '{"error":"unauthorized"}').encode()
        self.send_response(cls.status if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate of a public kind: one name, no address. It is its own CA."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", folder / "key", "-out", folder / "crt", "-days", "2"),
            *("-subj", "/CN=any", "-addext", f"subjectAltName=DNS:{NAME}"),
        ),
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
def server(certificate: Path) -> Iterator[type[Handler]]:
    handler: Any = type("Answering", (Handler,), {"asked": []})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "crt", certificate / "key")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        handler.port = made.server_port
        made.socket = context.wrap_socket(made.socket, server_side=True)
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield handler
        made.shutdown()
        thread.join()


@pytest.fixture
def check(certificate: Path, tmp_path: Path) -> Check:
    secrets = tmp_path / "10-gateway.env"
    secrets.write_text(
        f"GATEWAY_URL=https://{NAME}\nAPI_USER={USER}\nAPI_PASSWORD={shlex.quote(PASSWORD)}\n"
    )

    def run(port: int, **options: Any) -> dict[str, Any]:
        given = {
            "address": "127.0.0.1",
            "port": port,
            "name": NAME,
            "ca_path": str(certificate / "crt"),
            "credentials_path": str(secrets),
            "retries": 0,
            "delay": 0,
            "timeout": 2,
        }
        done = subprocess.run(
            [sys.executable, MODULE],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": given | options}),
            env=os.environ | PROXIES,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert PASSWORD not in done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def test_it_asks_an_address_by_a_name_that_only_the_certificate_knows(
    server: Any, check: Check
) -> None:
    found = check(server.port)
    assert found["answer"] == {"prediction value": "happiness"}
    assert found["changed"] is False
    assert server.asked == [("POST", "/predict", f"{NAME}:{server.port}")]


def test_a_handshake_asks_nothing(server: Any, check: Check) -> None:
    assert "failed" not in check(server.port, expect="handshake")
    assert server.asked == []


def test_maintenance_is_an_answer(server: Any, check: Check) -> None:
    server.status, server.text = 503, '{"error":"maintenance"}'
    assert check(server.port)["answer"] == {"error": "maintenance"}


def test_any_response_but_a_failure_will_do(server: Any, check: Check) -> None:
    assert check(server.port, expect="response", credentials_path=None)["status"] == 401
    server.status, server.text = 502, "bad"
    assert "status 502, bad" in check(server.port, expect="response")["msg"]


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (503, '{"error":"service_unavailable"}', 'status 503, {"error":"service_unavailable"}'),
        (500, "", "status 500, without a body"),
        (200, "<html>", "status 200, <html>"),
        (200, "[]", "status 200, []"),
    ],
)
def test_a_failure_shows_status_and_body(
    server: Any, check: Check, status: int, text: str, reason: str
) -> None:
    server.status, server.text = status, text
    place = f"The gateway at 127.0.0.1:{server.port}, asked as {NAME}: "
    assert check(server.port)["msg"] == place + reason


def test_a_wrong_password_is_a_401(server: Any, check: Check, tmp_path: Path) -> None:
    other = tmp_path / "other.env"
    other.write_text("API_USER=admin\nAPI_PASSWORD=wrong\n")
    found = check(server.port, credentials_path=str(other))
    assert found["reason"] == 'status 401, {"error":"unauthorized"}'


def test_it_asks_again(server: Any, check: Check) -> None:
    server.status = 429
    found = check(server.port, retries=2)
    assert (len(server.asked), found["attempts"]) == (3, 3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other.example.org", "Hostname mismatch, certificate is not valid for"),
        ("127.0.0.1", "IP address mismatch, certificate is not valid for"),
    ],
)
def test_a_name_that_the_certificate_lacks(
    server: Any, check: Check, name: str, reason: str
) -> None:
    found = check(server.port, name=name)
    assert f"asked as {name}: its certificate is not accepted: {reason} '{name}'" in found["msg"]


def test_a_ca_that_does_not_vouch(server: Any, check: Check, certificate: Path) -> None:
    lines = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    lines += [
        "-nodes",
        "-keyout",
        "/dev/null",
        "-out",
        str(certificate / "other"),
        "-subj",
        "/CN=o",
    ]
    subprocess.run(lines, check=True, capture_output=True)
    found = check(server.port, ca_path=str(certificate / "other"))
    assert found["reason"].startswith("its certificate is not accepted: self")


def test_nobody_listens(check: Check) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert check(port)["reason"] == "no connection: Connection refused"


def test_somebody_listens_and_says_nothing(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = check(silent.getsockname()[1], timeout=0.2)
    assert found["reason"] == "no TLS handshake within 0.2 s"


def test_what_listens_speaks_no_tls(check: Check) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as plain:
        thread = threading.Thread(target=plain.handle_request)
        thread.start()
        found = check(plain.server_port)
        thread.join()
    assert found["reason"] == "the TLS handshake failed: wrong version number"


@pytest.mark.parametrize("text", [None, "", "API_USER=admin\n", "API_USER='it's\n"])
def test_credentials_that_are_not_there(
    server: Any, check: Check, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "none.env"
    if text is not None:
        path.write_text(text)
    reason = check(server.port, credentials_path=str(path))["reason"]
    assert reason.startswith(str(path))
    assert "it's" not in reason


def test_a_ca_file_that_is_not_there(server: Any, check: Check, tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    assert str(path) in check(server.port, ca_path=str(path))["reason"]
    path.write_text("no certificate\n")
    assert str(path) in check(server.port, ca_path=str(path))["reason"]


def test_clients_of_the_tests_go_to_the_address_and_verify_the_name(
    server: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    environment = {
        "GATEWAY_URL": f"https://{NAME}:{server.port}",
        "GATEWAY_ADDRESS": "127.0.0.1",
        "GATEWAY_CA": str(certificate / "crt"),
    }
    gateway = Gateway(environment)
    gateway.request("GET", "/")
    assert gateway.getresponse().status == 401
    gateway.close()
    other = Gateway(environment | {"GATEWAY_URL": f"https://localhost:{server.port}"})
    with pytest.raises(ssl.SSLCertVerificationError):
        other.connect()
