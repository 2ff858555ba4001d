#!/usr/bin/env python3
"""Tries to tell a known user from an unknown one by how long a wrong password takes.

    python tests/tell_apart.py USER

Takes GATEWAY_URL, GATEWAY_ADDRESS and GATEWAY_CA from the environment (`make env`). Asks in turn
for USER and for a name that nobody has, at a pace that the gateway's limit allows, and prints how
often a known user's answer took longer: 0.5 is a coin's toss, 0 or 1 tells all. Exit code 1 when it
is far from a half.
"""

import base64
import sys
import time

import direct

PAIRS = 80
# Seven a second: with more, the gateway's limit (ten) would answer instead of its password file.
PAUSE_S = 0.14
# Of so many pairs that are alike, chance stays within 0.2 but once in ten thousand times.
FAR = 0.2


def main(user: str) -> int:
    connection = direct.Gateway()

    def seconds(name: str) -> float:
        token = base64.b64encode(f"{name}:wrong password".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {token}"}
        # No wait for anything: it keeps under the limit, and outside of what is measured.
        time.sleep(PAUSE_S)
        started = time.perf_counter()
        connection.request("POST", "/predict", '{"sentence": "who am I"}', headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 401:
            sys.exit(f"a wrong password got {answer.status}, 401 was expected")
        return time.perf_counter() - started

    seconds(user)
    known, unknown = zip(
        *((seconds(user), seconds(f"nobody-{user}")) for _ in range(PAIRS)), strict=True
    )
    longer = sum(k > u for k in known for u in unknown) / PAIRS**2
    print(f"{longer:.2f} of the pairs: the known user took longer ({PAIRS} answers each)")
    return int(abs(longer - 0.5) > FAR)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
