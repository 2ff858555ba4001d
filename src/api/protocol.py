"""Answers what is not even HTTP in the shape of every other error.

The gateway forwards a path of raw bytes as it came; uvicorn refuses it before the application is
asked, and would answer in plain text.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import error_body
from api.middleware import new_request_id

_DETAIL = "Send a well-formed HTTP/1.1 request, with a path in ASCII."


def http_protocol(replica: str) -> type[HttpToolsProtocol]:
    """Make uvicorn's HTTP protocol, with errors that name `replica`."""

    class JsonErrorProtocol(HttpToolsProtocol):
        def send_400_response(self, msg: str) -> None:
            request_id = new_request_id()
            body = error_body(400, request_id, _DETAIL).model_dump_json().encode()
            head = (
                "HTTP/1.1 400 Bad Request\r\n"
                "Content-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n"
                f"X-Served-By: {replica}\r\n"
                f"X-Request-ID: {request_id}\r\n"
                "Connection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()

    return JsonErrorProtocol
