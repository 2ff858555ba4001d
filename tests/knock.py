#!/usr/bin/env python3
"""Knocks at a gateway again and again while something is done to it, and says what got lost.

    python tests/knock.py [--new] UNTIL

Takes GATEWAY_URL, GATEWAY_ADDRESS, GATEWAY_CA, API_USER and API_PASSWORD from the environment
(`make env`).
Asks for a prediction seven times a second over one connection, as the gateway's limit allows;
with --new it opens a connection for each request instead, as fast as it can, and asks for a page
that is not there. Stops when the file UNTIL appears. Prints `N asked, N failed, N raced, worst N
ms` and the failures; the exit code is 1 when there is one. Like every client it looks for a closed
connection before it writes on it. What it writes in the very moment in which a gateway that ends
closes an idle connection is lost all the same, with any server: that is `raced`, and more than one
is a failure, too.
"""

import argparse
import base64
import http.client
import json
import os
import pathlib
import select
import sys
import time

import direct

# However long the thing takes, this ends.
LONGEST = 1800


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("until", type=pathlib.Path)
    parser.add_argument("--new", action="store_true")
    options = parser.parse_args()

    method, path, body, wanted = "GET", "/nothing", None, 404
    headers = {}
    if not options.new:
        method, path, wanted = "POST", "/predict", 200
        body = json.dumps({"sentence": "what a wonderful morning"})
        both = f"{os.environ['API_USER']}:{os.environ['API_PASSWORD']}"
        token = base64.b64encode(both.encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {token}"}

    connection = direct.Gateway()
    asked, raced, used, worst = 0, 0, False, 0.0
    failures = []
    end = time.monotonic() + LONGEST
    while time.monotonic() < end and not options.until.exists():
        started = time.monotonic()
        if connection.sock and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
            used = False
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            used = True
            if answer.status != wanted:
                failures.append(f"{answer.status} {text[:100]!r}")
        except (OSError, http.client.HTTPException) as error:
            # Not a byte came back on a connection that had worked before.
            if used and isinstance(error, (ConnectionResetError, BrokenPipeError)):
                raced += 1
            else:
                failures.append(repr(error))
            connection.close()
            used = False
        asked += 1
        worst = max(worst, time.monotonic() - started)
        if options.new:
            connection.close()
            used = False
        else:
            time.sleep(0.14)
    print(f"{asked} asked, {len(failures)} failed, {raced} raced, worst {worst * 1000:.0f} ms")
    print("\n".join(failures[:5]))
    return 1 if failures or raced > 1 or not asked else 0


if __name__ == "__main__":
    sys.exit(main())
