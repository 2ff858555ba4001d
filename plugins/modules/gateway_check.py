#!/usr/bin/python
"""Asks the gateway as a client does, at its published address, and fails with the reason."""

import base64
import contextlib
import http.client
import json
import shlex
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: gateway_check
short_description: Asks the gateway as a client does
description:
  - Connects to an address and verifies the certificate for a name, as --connect-to of curl does.
    The certificate then need not hold the address, and DNS need not know the name.
  - A proxy of the environment has no part in it. Nothing is changed.
  - A failure says where it asked, by which name, and what came of it; never the password.
options:
  address:
    description: Where to connect to, an address of the machine.
    type: str
    required: true
  port:
    description: The port there.
    type: int
    default: 443
  name:
    description: Name or address that the certificate has to be valid for, sent as SNI and Host.
    type: str
    required: true
  ca_path:
    description: CA certificates (PEM, on the machine) that have to vouch for the certificate.
    type: path
    required: true
  credentials_path:
    description: File on the machine with lines API_USER=… and API_PASSWORD=…, quoted for a shell.
    type: path
  expect:
    description:
      - V(handshake) ends after the handshake.
      - V(response) sends a request and takes any response of the gateway but a 5xx.
      - V(prediction) sends a sentence and expects a prediction, or the response for maintenance.
    type: str
    choices: [handshake, response, prediction]
    default: prediction
  retries:
    description: How often it asks again after a failure.
    type: int
    default: 3
  delay:
    description: Seconds before it asks again.
    type: float
    default: 1
  timeout:
    description: Seconds that one connection or response may take.
    type: float
    default: 10
"""

SENTENCE = {"sentence": "what a lovely surprise, thank you"}
# More than any answer of the gateway that is asked for here.
LARGEST_ANSWER = 64 * 1024


class Refused(Exception):
    """Why it is not as expected, in words."""


@dataclass(frozen=True)
class Gateway:
    """Where the gateway is, and whom it has to prove to be."""

    address: str
    port: int
    name: str
    ca_path: str
    timeout: float

    @property
    def place(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    def connect(self) -> ssl.SSLSocket:
        """Return a connection that is verified.

        Raises:
            Refused: there is none, or the certificate is not in order.
        """
        # As curl verifies: a CA that only clients of Python's strictest kind refuse is good enough.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(self.ca_path)
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"the CA file {self.ca_path} cannot be read: {error}") from error
        try:
            plain = socket.create_connection((self.address, self.port), self.timeout)
        except TimeoutError as error:
            raise Refused(f"no connection within {self.timeout:g} s") from error
        except OSError as error:
            raise Refused(f"no connection: {error.strerror or error}") from error
        try:
            return context.wrap_socket(plain, server_hostname=self.name)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            reason = error.verify_message.rstrip(".")
            raise Refused(f"its certificate is not accepted: {reason}") from error
        except TimeoutError as error:
            plain.close()
            raise Refused(f"no TLS handshake within {self.timeout:g} s") from error
        except OSError as error:
            plain.close()
            raise Refused(f"the TLS handshake failed: {_tls_reason(error)}") from error

    def ask(self, method: str, path: str, body: Any, user: str, password: str) -> tuple[int, bytes]:
        """Return status and body of a response.

        Raises:
            Refused: there is none.
        """
        headers = {"User-Agent": "gateway_check"}
        if user:
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPSConnection(self.name, self.port)
        with self.connect() as connection.sock:
            try:
                connection.request(method, path, json.dumps(body) if body else None, headers)
                response = connection.getresponse()
                return response.status, response.read(LARGEST_ANSWER)
            except TimeoutError as error:
                raise Refused(f"no response within {self.timeout:g} s") from error
            except (OSError, http.client.HTTPException) as error:
                raise Refused(f"no response: {error or type(error).__name__}") from error


def _tls_reason(error: OSError) -> str:
    """Return OpenSSL's reason in its own words, without the line of its source."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return str(error.reason).replace("_", " ").lower()
    return error.strerror or str(error) or "the connection was closed"


def credentials(path: str | None) -> tuple[str, str]:
    """Return user and password of a file, two empty texts without one.

    Raises:
        Refused: the file is missing, or not what it should be.
    """
    if not path:
        return "", ""
    try:
        words = shlex.split(Path(path).read_text(encoding="utf-8"))
        pairs = dict(word.split("=", 1) for word in words if "=" in word)
        return pairs["API_USER"], pairs["API_PASSWORD"]
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    except (KeyError, ValueError) as error:
        # Without the text itself.
        raise Refused(f"{path} does not hold API_USER and API_PASSWORD") from error


def check(gateway: Gateway, expect: str, credentials_path: str | None) -> dict[str, Any]:
    """Return what a check saw: `status` and `answer`, none of them after a mere handshake.

    Raises:
        Refused: it is not as expected.
    """
    if expect == "handshake":
        gateway.connect().close()
        return {}
    user, password = credentials(credentials_path)
    if wants_prediction := expect == "prediction":
        status, body = gateway.ask("POST", "/predict", SENTENCE, user, password)
    else:
        status, body = gateway.ask("GET", "/", None, user, password)
    answer: Any = None
    with contextlib.suppress(ValueError):
        answer = json.loads(body)
    known = answer if isinstance(answer, dict) else {}
    good = status < 500
    if wants_prediction:
        good = status == 200 and "prediction value" in known
    if not good and not (status == 503 and known.get("error") == "maintenance"):
        shown = body[:300].decode(errors="replace").strip()
        raise Refused(f"status {status}, {shown or 'without a body'}")
    return {"status": status, "answer": answer}


def main() -> None:
    """Run it as a module of Ansible."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 443},
            "name": {"type": "str", "required": True},
            "ca_path": {"type": "path", "required": True},
            "credentials_path": {"type": "path"},
            "expect": {
                "type": "str",
                "choices": ["handshake", "response", "prediction"],
                "default": "prediction",
            },
            "retries": {"type": "int", "default": 3},
            "delay": {"type": "float", "default": 1},
            "timeout": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    given = module.params
    gateway = Gateway(
        **{key: given[key] for key in ("address", "port", "name", "ca_path", "timeout")}
    )
    tries = given["retries"] + 1
    reason = ""
    for left in reversed(range(tries)):
        try:
            seen = check(gateway, given["expect"], given["credentials_path"])
        except Refused as error:
            reason = str(error)
            if left:
                # A gateway that was just replaced gets the time that the task allows.
                time.sleep(given["delay"])
        else:
            module.exit_json(changed=False, **seen)
    module.fail_json(
        msg=f"The gateway at {gateway.place}, asked as {gateway.name}: {reason}",
        reason=reason,
        attempts=tries,
    )


if __name__ == "__main__":
    main()
