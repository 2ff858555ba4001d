#!/usr/bin/env python3
"""Answers on port 8000 as its one argument says; every health question gets a 200.

slow: a prediction after 300 ms; 500, 502, 503: that status in JSON; reset, close: ends the
connection instead of an answer; cut: half of one; garbage: bytes where a field should be; poison:
predicts, and ends itself at a sentence that holds the word.
"""

import json
import os
import socket
import socketserver
import struct
import sys
import time

HOW = sys.argv[1]


def http(status: int, document: object) -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nX-Served-By: fake\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


PREDICTION = http(200, {"prediction value": "neutral"})


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            length = 0
            while (field := self.rfile.readline().strip().lower()) != b"":
                if field.startswith(b"content-length:"):
                    length = int(field.split(b":")[1])
            body = self.rfile.read(length)
            if b"/predict" not in line:
                self.wfile.write(http(200, {}))
            elif not self.answer(body):
                return

    def answer(self, body: bytes) -> bool:
        """Answer one prediction; say whether the connection goes on."""
        if HOW == "slow":
            # The fault itself.
            time.sleep(0.3)
        if HOW in ("500", "502", "503"):
            self.wfile.write(http(int(HOW), {"error": "internal_error"}))
        elif HOW == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            return False
        elif HOW == "close":
            return False
        elif HOW == "cut":
            self.wfile.write(PREDICTION[:20])
            return False
        elif HOW == "garbage":
            self.wfile.write(b"HTTP/1.1 200 x\r\n\x00\x01 no field at all\r\n\r\n")
            return False
        elif HOW == "poison" and b"poison" in body:
            os._exit(1)
        else:
            self.wfile.write(PREDICTION)
        return True


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


Server(("", 8000), Handler).serve_forever()
