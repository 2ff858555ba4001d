"""Asks the stack from here: no proxy of the environment has a part in it.

`urllib` obeys http_proxy for addresses of this machine as well, so ruff refuses its `urlopen`.
"""

import http.client
import os
import socket
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping

open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Gateway(http.client.HTTPSConnection):
    """A connection to the gateway that `make env` names.

    It goes to GATEWAY_ADDRESS, where there is one, and is verified for the name in GATEWAY_URL.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ, *, timeout: float = 10) -> None:
        parts = urllib.parse.urlsplit(environment["GATEWAY_URL"])
        super().__init__(str(parts.hostname), parts.port or 443, timeout=timeout)
        self.address = environment.get("GATEWAY_ADDRESS") or str(parts.hostname)
        self.trusted = ssl.create_default_context(cafile=environment["GATEWAY_CA"])

    def connect(self) -> None:
        plain = socket.create_connection((self.address, self.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self.trusted.wrap_socket(plain, server_hostname=self.host)
