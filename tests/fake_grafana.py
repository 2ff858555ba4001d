#!/usr/bin/env python3
"""Stands in for Grafana where no registry hands out its image; the life-cycle test runs it.

It takes what Grafana takes: its settings from GF_ variables, the password from the file that one of
them names, the data source and the dashboards from the provisioned files, and a database in
/var/lib/grafana that outlives it. It ends with what it misses where Grafana would miss it, too. On
port 3000: /api/health for everybody, /found for the administrator: what it was given, as JSON.
"""

import base64
import http.server
import json
import os
import pathlib
import re
import secrets
import sys
import urllib.request

DATA = pathlib.Path("/var/lib/grafana")
IMAGE_USER = 472


def settings() -> dict[str, str]:
    """Return the GF_ variables; of one that ends in __FILE, what the file says."""
    found = {}
    for name, value in os.environ.items():
        if name.startswith("GF_"):
            file = name.endswith("__FILE")
            found[name.removesuffix("__FILE")] = pathlib.Path(value).read_text() if file else value
    return found


def one(pattern: str, text: str) -> str:
    """Return what the pattern's one group matches; YAML's plain values need no more."""
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else sys.exit(f"{pattern} is not in: {text}")


def whole(folder: pathlib.Path) -> str:
    return "\n".join(file.read_text() for file in sorted(folder.glob("*.yml")))


def take(given: dict[str, str]) -> dict[str, object]:
    """Read everything that was provisioned, ask the data source, keep the database."""
    provisioned = pathlib.Path(given["GF_PATHS_PROVISIONING"])
    source = whole(provisioned / "datasources")
    address = one(r"^ +url: (.+)$", source)
    with urllib.request.urlopen(f"{address}/api/v1/query?query=vector(1)", timeout=10) as answer:
        works = json.load(answer)["status"] == "success"
    folder = pathlib.Path(one(r"^ +path: (.+)$", whole(provisioned / "dashboards")))
    dashboards = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    home = pathlib.Path(given["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    database = DATA / "grafana.db"
    if not database.exists():
        database.write_text(secrets.token_hex())
    return {
        "user": os.getuid() == IMAGE_USER,
        "source": one(r"^ +uid: (.+)$", source) if works else "does not answer",
        "interval": one(r"^ +timeInterval: (.+)$", source),
        "dashboards": [dashboard["uid"] for dashboard in dashboards],
        "home": json.loads(home.read_text())["uid"],
        "writable": [
            name
            for name in ("/", "/etc/stack", "/run/secrets/grafana-admin")
            if os.access(name, os.W_OK)
        ],
        "database": database.read_text(),
    }


GIVEN = settings()
FOUND = take(GIVEN)
WHO = f"{GIVEN['GF_SECURITY_ADMIN_USER']}:{GIVEN['GF_SECURITY_ADMIN_PASSWORD']}"
ALLOWED = "Basic " + base64.b64encode(WHO.encode()).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/api/health":
            self.answer(200, {"database": "ok"})
        elif self.path != "/found":
            self.answer(404, {"message": "Not found"})
        elif secrets.compare_digest(self.headers.get("Authorization", ""), ALLOWED):
            self.answer(200, FOUND)
        else:
            self.answer(401, {"message": "Unauthorized"})

    def answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", 3000), Handler).serve_forever()
