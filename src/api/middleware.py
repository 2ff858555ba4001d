"""What surrounds every request: its id, the two headers, the log line and the counters."""

import logging
import os
import re
import time

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError, error_response, outcome
from api.metrics import Metrics

# Asked every few seconds by machines: counting them would drown what people ask.
QUIET_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
MAX_LOGGED_PATH = 200

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_log = logging.getLogger("api.request")


class RequestMiddleware:
    """Pure ASGI around the router: whatever goes wrong inside becomes a response here."""

    def __init__(self, app: ASGIApp, replica: str, metrics: Metrics) -> None:
        """Take what is inside.

        Args:
            app: answers the requests.
            replica: name of this replica.
            metrics: where requests are counted.
        """
        self._app = app
        self._replica = replica.encode()
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever goes wrong inside becomes a 500 without a trace."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0
        request_id = scope["request_id"] = _request_id(scope)
        # Tells Starlette's router to raise its 404 and 405 instead of sending them as plain text.
        scope["app"] = self
        headers = [(b"x-served-by", self._replica), (b"x-request-id", request_id.encode())]

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ApiError as error:
            later = {"Retry-After": "1"} if error.status == 503 else None
            response = error_response(scope, error.status, error.detail, later)
            await response(scope, receive, send_with_headers)
        except HTTPException as error:
            response = error_response(scope, error.status_code, headers=error.headers)
            await response(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = 499
        except Exception:
            _log.exception("unexpected error", extra={"fields": {"request_id": request_id}})
            if status:
                raise
            await error_response(scope, 500)(scope, receive, send_with_headers)
        finally:
            self._record(scope, status or 500, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"]
        if path in QUIET_PATHS and status < 500:
            return
        fields = {
            "request_id": scope["request_id"],
            "method": scope["method"],
            "path": path[:MAX_LOGGED_PATH],
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
        }
        level = logging.ERROR if status >= 500 else logging.INFO
        _log.log(level, "request", extra={"fields": fields})
        if path not in QUIET_PATHS:
            self._metrics.requests.labels(f"{status // 100}xx", outcome(status)).inc()
            if path == "/predict":
                self._metrics.duration.observe(seconds)


def new_request_id() -> str:
    """Make an id as the gateway does: 32 hex digits."""
    return os.urandom(16).hex()


def _request_id(scope: Scope) -> str:
    """Return the gateway's id; anything else could forge a log line or a header."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            offered: bytes = value
            return offered.decode()
    return new_request_id()
