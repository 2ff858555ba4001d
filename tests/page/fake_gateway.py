"""A gateway that serves the real page and answers by hand, for what a healthy stack never shows."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from page.canned import Answer, healthy
from page.supplies import LIBRARY

PAGE = Path(__file__).parents[2] / "roles/nginx/files/image/status"
FILES = {
    "/": (PAGE / "index.html", "text/html; charset=utf-8"),
    "/status/status.css": (PAGE / "status.css", "text/css; charset=utf-8"),
    "/status/status.js": (PAGE / "status.js", "text/javascript; charset=utf-8"),
    "/status/dygraph.min.js": (LIBRARY, "text/javascript; charset=utf-8"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
NOT_FOUND = Answer(404, '{"error":"not_found"}')


@dataclass(frozen=True)
class Asked:
    """A request that came: `headers` by names in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class FakeGateway:
    """Its address, what it answers now, and what it was asked."""

    url: str
    answers: dict[str, Answer] = field(default_factory=healthy)
    asked: list[Asked] = field(default_factory=list)
    # Files that it does not have.
    without: set[str] = field(default_factory=set)

    def paths(self) -> list[str]:
        return [a.path for a in self.asked]

    def questions(self) -> list[Asked]:
        return [a for a in self.asked if a.path == "/predict"]


def _handler(gateway: Callable[[], FakeGateway]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake = gateway()
            fake.asked.append(Asked(self.command, self.path, headers, body))
            if self.command == "GET" and self.path in FILES and self.path not in fake.without:
                path, kind = FILES[self.path]
                if path.exists():
                    self._send(200, path.read_bytes(), {"Content-Type": kind})
                    return
            answer = fake.answers.get(self.path, NOT_FOUND)
            if answer.status == 0:
                self.close_connection = True
                return
            own = {"Content-Type": "application/json", "Date": answer.date()}
            self._send(answer.status, answer.body.encode(), {**own, **answer.headers})

        do_GET = do_POST = _answer

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

    return Handler


@contextmanager
def fake_gateway() -> Iterator[FakeGateway]:
    """Serve on a free port of loopback."""
    made: list[FakeGateway] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(lambda: made[0]))
    server.daemon_threads = True
    made.append(FakeGateway(f"http://127.0.0.1:{server.server_address[1]}"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
