#!/usr/bin/env python3
"""Stands in for Grafana 12 where no registry hands out its image; tests run it.

    fake_grafana.py run.sh    what the image starts: takes GF_…__FILE for the file's content, serves
    fake_grafana.py server    serves on GF_SERVER_HTTP_PORT (3000)
    fake_grafana.py cli --homepath FOLDER admin reset-admin-password --password-from-stdin

It does what Grafana's source does, as far as the role and the tests look: user and password come
from the settings for an empty database only (SQLite, in GF_PATHS_DATA); names are in lower case;
five wrong passwords block a name for five minutes; each provisioning folder that is missing is an
error in the log; `cli` writes to the same database. /found is for tests: what it was given.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import re
import secrets
import sqlite3
import sys
import time
import urllib.parse
import urllib.request
from typing import Any

IMAGE_USER = 472
# What Grafana 12 looks for; it had notifiers up to 10.
FOLDERS = {
    "plugins": "Failed to read plugin provisioning files from directory",
    "alerting": "can't read alerting provisioning files from directory",
    "datasources": "can't read datasource provisioning files from directory",
    "dashboards": "can't read dashboard provisioning files from directory",
}
ATTEMPTS, BLOCKED_SECONDS = 5, 300
SHORTEST_PASSWORD = 5
TABLES = """
create table if not exists user (id integer primary key, login text unique, email text unique,
    name text, password text, salt text, is_admin integer);
create table if not exists login_attempt (username text, created integer);
create table if not exists kv_store (key text primary key, value text);
"""


def log(level: str, logger: str, message: str, **fields: str) -> None:
    more = "".join(f" {name}={json.dumps(value)}" for name, value in fields.items())
    print(f'logger={logger} t={time.time():.0f} level={level} msg="{message}"{more}', flush=True)


def setting(name: str, default: str = "") -> str:
    return os.environ.get(f"GF_{name}", default)


def encode(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 10000, 50).hex()


# ---- the database --------------------------------------------------------------------------------


def database() -> sqlite3.Connection:
    """Open the database; make its first administrator if it has no user."""
    file = pathlib.Path(setting("PATHS_DATA", "/var/lib/grafana")) / "grafana.db"
    opened = sqlite3.connect(file, isolation_level=None)
    opened.row_factory = sqlite3.Row
    opened.executescript(TABLES)
    if opened.execute("select count(*) from user").fetchone()[0] == 0:
        login, salt = setting("SECURITY_ADMIN_USER", "admin").lower(), secrets.token_hex(5)
        opened.execute(
            "insert into user values (1, ?, ?, '', ?, ?, 1)",
            (
                login,
                "admin@localhost",
                encode(setting("SECURITY_ADMIN_PASSWORD", "admin"), salt),
                salt,
            ),
        )
        opened.execute("insert into kv_store values ('identity', ?)", (secrets.token_hex(),))
        log("info", "sqlstore", "Created default admin", user=login)
    return opened


def set_password(opened: sqlite3.Connection, user: sqlite3.Row, password: str) -> None:
    opened.execute(
        "update user set password = ? where id = ?", (encode(password, user["salt"]), user["id"])
    )


def signed_in(opened: sqlite3.Connection, header: str) -> sqlite3.Row | None:
    """Return the user of an Authorization header, by login or email."""
    kind, _, both = header.partition(" ")
    if kind != "Basic":
        return None
    name, _, password = base64.b64decode(both).decode().partition(":")
    name, now = name.lower(), int(time.time())
    wrong = opened.execute(
        "select count(*) from login_attempt where username = ? and created > ?",
        (name, now - BLOCKED_SECONDS),
    ).fetchone()[0]
    if wrong >= ATTEMPTS:
        log("warn", "authn.service", "too many consecutive incorrect login attempts for user")
        return None
    user = opened.execute("select * from user where ? in (login, email)", (name,)).fetchone()
    if user is None:
        return None
    if not secrets.compare_digest(encode(password, user["salt"]), user["password"]):
        opened.execute("insert into login_attempt values (?, ?)", (name, now))
        return None
    opened.execute("delete from login_attempt where username = ?", (name,))
    found: sqlite3.Row = user
    return found


# ---- what it was given ---------------------------------------------------------------------------


def provisioned(kind: str) -> str:
    """Return the files of one kind; log an error, as Grafana does, if there is no such folder."""
    folder = pathlib.Path(setting("PATHS_PROVISIONING")) / kind
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in (".yml", ".yaml"))
    except OSError as error:
        log("error", f"provisioning.{kind}", FOLDERS[kind], path=str(folder), error=str(error))
        return ""
    return "\n".join(file.read_text() for file in files)


def one(pattern: str, text: str) -> str:
    """Return what the pattern's one group matches; YAML's plain values need no more."""
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else ""


def dashboards() -> list[dict[str, Any]]:
    folder = pathlib.Path(one(r"^ +path: (.+)$", PROVISIONED["dashboards"]))
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def source() -> dict[str, Any]:
    text = PROVISIONED["datasources"]
    return {
        "id": 1,
        "uid": one(r"^ +uid: (.+)$", text),
        "type": one(r"^ +type: (.+)$", text),
        "url": one(r"^ +url: (.+)$", text),
        "readOnly": True,
    }


def source_health() -> tuple[int, dict[str, str]]:
    url = f"{source()['url']}/api/v1/query?query=1%2B1"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            json.load(answer)
    except (OSError, ValueError) as error:
        return 400, {"status": "ERROR", "message": str(error)}
    return 200, {"status": "OK", "message": "Successfully queried the Prometheus API."}


def found(opened: sqlite3.Connection) -> dict[str, Any]:
    home = pathlib.Path(setting("DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"))
    places = ("/", "/etc/stack", "/run/secrets/grafana-admin")
    return {
        "user": os.getuid() == IMAGE_USER,
        "source": source()["uid"] if source_health()[0] == 200 else "does not answer",
        "interval": one(r"^ +timeInterval: (.+)$", PROVISIONED["datasources"]),
        "dashboards": [dashboard["uid"] for dashboard in dashboards()],
        "home": json.loads(home.read_text())["uid"],
        "writable": [name for name in places if os.access(name, os.W_OK)],
        "database": opened.execute("select value from kv_store").fetchone()[0],
    }


PROVISIONED: dict[str, str] = {}


# ---- the API -------------------------------------------------------------------------------------


def public(user: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": user["id"],
        "login": user["login"],
        "email": user["email"],
        "isGrafanaAdmin": bool(user["is_admin"]),
        "isDisabled": False,
    }


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.handle_call(None)

    def do_PUT(self) -> None:
        self.handle_call(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def do_POST(self) -> None:
        self.do_PUT()

    def handle_call(self, body: dict[str, Any] | None) -> None:
        opened = database()
        try:
            self.answer(*self.respond(opened, body))
        finally:
            opened.close()

    def respond(self, opened: sqlite3.Connection, body: dict[str, Any] | None) -> tuple[int, Any]:
        path = urllib.parse.urlsplit(self.path).path
        if path == "/api/health":
            return 200, {"database": "ok", "version": "12.2.1", "commit": "0" * 40}
        user = signed_in(opened, self.headers.get("Authorization", ""))
        if user is None:
            return 401, {"message": "Invalid username or password", "statusCode": 401}
        match self.command, path.strip("/").split("/"):
            case "GET", ["api", "user"]:
                return 200, public(user)
            case "GET", ["api", "datasources"]:
                return 200, [source()]
            case "GET", ["api", "datasources", "uid", _, "health"]:
                return source_health()
            case "GET", ["api", "search"]:
                return 200, [
                    {"uid": d["uid"], "title": d["title"], "type": "dash-db"} for d in dashboards()
                ]
            case "GET", ["found"]:
                return 200, found(opened)
            case _, ["api", "users" | "admin", *_] if not user["is_admin"]:
                return 403, {"message": "You'll need additional permissions"}
            case "POST", ["api", "admin", "users"] if body:
                salt = secrets.token_hex(5)
                login = body["login"].lower()
                opened.execute(
                    "insert into user values (null, ?, ?, '', ?, ?, 0)",
                    (login, login, encode(body["password"], salt), salt),
                )
                return 200, {"message": "User created"}
            case "PUT", ["api", "users", number] if body:
                return update(opened, int(number), body)
        return 404, {"message": "Not found"}

    def answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        # The health check reads no further than the status.
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Grafana logs no requests unless it is told to (router_logging)."""


def update(opened: sqlite3.Connection, number: int, body: dict[str, Any]) -> tuple[int, Any]:
    """Change what is not empty of a user's login and email."""
    for field in ("login", "email"):
        if value := body.get(field, "").lower():
            try:
                opened.execute(f"update user set {field} = ? where id = ?", (value, number))
            except sqlite3.IntegrityError:
                return 409, {"message": "Update would result in user login conflict"}
    return 200, {"message": "User updated"}


# ---- its commands --------------------------------------------------------------------------------


def run_sh() -> None:
    """Take each GF_…__FILE for the content of the file, as the image's own script does."""
    for name, path in list(os.environ.items()):
        if name.startswith("GF_") and name.endswith("__FILE"):
            print(f"Getting secret {name.removesuffix('__FILE')} from {path}", flush=True)
            os.environ[name.removesuffix("__FILE")] = pathlib.Path(path).read_text().rstrip("\n")
            del os.environ[name]
    serve()


def serve() -> None:
    database().close()
    PROVISIONED.update({kind: provisioned(kind) for kind in FOLDERS})
    port = int(setting("SERVER_HTTP_PORT", "3000"))
    http.server.ThreadingHTTPServer(("", port), Handler).serve_forever()


def cli(words: list[str]) -> int:
    match words:
        case ["--homepath", _, "admin", "reset-admin-password", "--password-from-stdin", *more]:
            number = int(more[1]) if more[:1] == ["--user-id"] else 1
        case _:
            print(f"Error: ✗ this stand-in knows no {' '.join(words)}", file=sys.stderr)
            return 1
    if setting("LOG_MODE", "console file") != "console":
        # Its own log is in a folder of the image.
        pathlib.Path("/var/log/grafana/grafana.log").touch()
    print("New Password: ", end="")
    password = sys.stdin.readline().rstrip("\n")
    opened = database()
    user = opened.execute("select * from user where id = ?", (number,)).fetchone()
    if len(password) < SHORTEST_PASSWORD:
        error = "new password is too short"
    elif user is None:
        error = "could not read user from database. Error: user not found"
    elif not user["is_admin"]:
        error = "reset-admin-password can only be used to reset an admin user account"
    else:
        set_password(opened, user, password)
        print("\nAdmin password changed successfully ✔\n")
        return 0
    print(f"Error: ✗ {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run.sh"]:
            run_sh()
        case ["server", *_]:
            serve()
        case ["cli", *words]:
            sys.exit(cli(words))
        case _:
            sys.exit(__doc__)
