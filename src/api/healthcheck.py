"""Exits 0 when this container's service is ready, else 1: `python -m api.healthcheck`.

Docker runs it every few seconds, so it imports nothing but what it needs, and stdlib only.
"""

import http.client
import os
import sys

TIMEOUT_SECONDS = 2.0


def is_ready(port: int) -> bool:
    """Ask /readyz on the loopback interface."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready(int(os.environ.get("PORT", "8000"))) else 1)
