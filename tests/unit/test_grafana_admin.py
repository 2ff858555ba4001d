"""Grafana's administrator is the one that `make env` shows, whatever its database says."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugins.modules.grafana_admin import Grafana, Refused, read_env, read_password, settle

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = ROOT / "tests/fake_grafana.py"
FIRST, LATER = "the first password", 'a later "pass word" ü$'
CONTAINER = "some-grafana-1"


class Running:
    """A stand-in that serves, and a `docker` that runs its command line beside it."""

    def __init__(self, folder: Path, user: str, password: str) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "secret").write_text(f"{password}\n")
        (folder / "provisioning").mkdir(exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "GF_PATHS_DATA": str(folder / "data"),
            "GF_PATHS_PROVISIONING": str(folder / "provisioning"),
            "GF_LOG_MODE": "console",
            "GF_SECURITY_ADMIN_USER": user,
            "GF_SECURITY_ADMIN_PASSWORD__FILE": str(folder / "secret"),
            "GF_SERVER_HTTP_PORT": str(self.port),
        }
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, STAND_IN, "run.sh"], env=self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                # Between two questions.
                time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=10)
            self.process = None

    def restart(self, **environment: str) -> None:
        self.stop()
        self.environment |= environment
        self.start()

    @property
    def grafana(self) -> Grafana:
        return Grafana(f"http://127.0.0.1:{self.port}", CONTAINER)

    def accepts(self, user: str, password: str) -> bool:
        return self.grafana.signed_in(user, password) is not None

    def commands(self) -> str:
        """Every command line that `docker` was called with."""
        file = self.folder / "commands"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with serving(tmp_path, monkeypatch) as found:
        yield found


@contextmanager
def serving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    server = Running(folder, "admin", FIRST)
    settings = "\n".join(f"export {n}='{v}'" for n, v in server.environment.items())
    docker = folder / "bin/docker"
    docker.parent.mkdir()
    # docker exec --interactive CONTAINER grafana cli …
    docker.write_text(
        f'#!/bin/bash\nprintf "%s\\n" "$*" >>"{folder}/commands"\n{settings}\n'
        f'[[ $3 == {CONTAINER} ]] || exit 1\nexec "{sys.executable}" "{STAND_IN}" "${{@:5}}"\n'
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def add_user(running: Running, login: str, password: str) -> None:
    status, found = running.grafana._call(
        "POST", "/api/admin/users", "admin", FIRST, {"login": login, "password": password}
    )
    assert status == 200, found


# ---- the stand-in is an honest one ---------------------------------------------------------------


def test_a_database_keeps_user_and_password_whatever_the_settings_say(running: Running) -> None:
    assert running.accepts("admin", FIRST)
    (running.folder / "secret").write_text(LATER)
    running.restart(GF_SECURITY_ADMIN_USER="other")
    assert running.accepts("admin", FIRST)
    assert not running.accepts("other", LATER)


def test_five_wrong_passwords_block_a_name_for_a_while(running: Running) -> None:
    for _ in range(5):
        assert not running.accepts("admin", "wrong")
    assert not running.accepts("admin", FIRST)
    assert running.accepts("admin@localhost", FIRST)


def test_missing_folders_are_errors_in_the_log(running: Running) -> None:
    for name in ("plugins", "alerting", "datasources", "dashboards"):
        assert f"logger=provisioning.{name}" in running.log.read_text()
        (running.folder / "provisioning" / name).mkdir()
    running.restart()
    assert "level=error" not in running.log.read_text()


# ---- what holds is left alone --------------------------------------------------------------------


def test_an_administrator_that_is_accepted_is_left_alone(running: Running) -> None:
    assert settle(running.grafana, "admin", FIRST, "admin") is False
    assert running.commands() == ""


def test_a_name_in_other_case_is_the_same_one(running: Running) -> None:
    assert settle(running.grafana, "Admin", FIRST, "admin") is False


def test_a_dry_run_changes_nothing_and_says_what_it_would(running: Running) -> None:
    assert settle(running.grafana, "admin", LATER, "admin", dry_run=True) is True
    assert running.accepts("admin", FIRST)
    assert running.commands() == ""


# ---- what was changed later ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "password", "former"),
    [
        ("admin", LATER, "admin"),
        ("ops", FIRST, "admin"),
        ("ops", LATER, "admin"),
        # A database of other days: what worked last says nothing of it.
        ("ops", LATER, "ops"),
        ("ops", LATER, None),
    ],
)
def test_what_is_wanted_works_afterwards(
    running: Running, user: str, password: str, former: str | None
) -> None:
    assert settle(running.grafana, user, password, former) is True
    assert running.accepts(user, password)
    assert not running.accepts("admin", FIRST)
    assert settle(running.grafana, user, password, user) is False


def test_a_name_that_follows_another_is_set_too(running: Running) -> None:
    settle(running.grafana, "ops", LATER, "admin")
    # By the former name: the address of the email may be changed by then.
    running.grafana._call("PUT", "/api/users/1", "ops", LATER, {"email": "me@example.org"})
    assert settle(running.grafana, "chief", LATER, "ops") is True
    assert running.accepts("chief", LATER)


def test_the_password_is_on_no_command_line(running: Running) -> None:
    settle(running.grafana, "admin", LATER, "admin")
    assert "reset-admin-password --password-from-stdin" in running.commands()
    assert LATER not in running.commands()


def test_no_proxy_is_asked(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert settle(running.grafana, "admin", FIRST, None) is False


# ---- what cannot be done is said -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "password", "words"),
    [
        ("admin", "1234", "did not set the password: .*too short"),
        ("taken", LATER, "does not rename its administrator to taken .*another user"),
    ],
)
def test_a_refusal_says_why_without_the_password(
    running: Running, user: str, password: str, words: str
) -> None:
    add_user(running, "taken", "of-another-user")
    with pytest.raises(Refused, match=words) as refused:
        settle(running.grafana, user, password, "admin")
    assert password not in str(refused.value)


def test_a_user_who_is_no_administrator_is_refused(running: Running) -> None:
    add_user(running, "plain", LATER)
    with pytest.raises(Refused, match="not an administrator"):
        settle(running.grafana, "plain", LATER, "admin")


def test_an_administrator_of_unknown_name_is_refused(running: Running) -> None:
    change = {"login": "hidden", "email": "me@example.org"}
    running.grafana._call("PUT", "/api/users/1", "admin", FIRST, change)
    with pytest.raises(Refused, match=r"not named ops\. Set monitoring_grafana_user"):
        settle(running.grafana, "ops", LATER, "admin")


def test_a_grafana_that_does_not_answer_is_refused(running: Running) -> None:
    running.stop()
    with pytest.raises(Refused, match="does not answer"):
        settle(running.grafana, "admin", FIRST, None)


def test_a_container_that_is_not_there_is_refused(running: Running) -> None:
    gone = Grafana(f"http://127.0.0.1:{running.port}", "gone")
    with pytest.raises(Refused, match="grafana cli in gone did not set the password"):
        settle(gone, "admin", LATER, None)


# ---- files ---------------------------------------------------------------------------------------


def test_a_password_is_read_without_the_line_end_that_an_editor_adds(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f" {LATER} \n\n")
    assert read_password(file) == f" {LATER} "


@pytest.mark.parametrize("content", ["", "\n", "two\nlines\n"])
def test_a_file_with_no_password_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "secret"
    file.write_text(content)
    with pytest.raises(Refused, match="one line"):
        read_password(file)


def test_a_password_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        read_password(tmp_path / "none")


def test_env_is_read_as_a_shell_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("GRAFANA_URL=\nGRAFANA_USER='it'\"'\"'s'\nGRAFANA_PASSWORD='a b'\n")
    assert read_env(file) == {
        "GRAFANA_URL": "",
        "GRAFANA_USER": "it's",
        "GRAFANA_PASSWORD": "a b",
    }
    assert read_env(tmp_path / "none") == {}


# ---- as a module ---------------------------------------------------------------------------------


def run_module(running: Running, *, check: bool = False, **arguments: str) -> dict[str, Any]:
    """Run it as Ansible does: arguments on stdin, a result in JSON."""
    given = {
        "container": CONTAINER,
        "password_path": str(running.folder / "secret"),
        "env_path": str(running.folder / "env"),
        **arguments,
        "_ansible_check_mode": check,
    }
    done = subprocess.run(
        [sys.executable, ROOT / "plugins/modules/grafana_admin.py"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert LATER not in done.stdout + done.stderr
    return found


def test_module_does_nothing_where_grafana_does_not_run(running: Running) -> None:
    (running.folder / "env").write_text("GRAFANA_URL=\nGRAFANA_USER=\n")
    assert run_module(running)["changed"] is False


def test_module_takes_address_and_name_from_what_env_shows(running: Running) -> None:
    (running.folder / "env").write_text(
        f"GRAFANA_URL=http://127.0.0.1:{running.port}\nGRAFANA_USER=ops\n"
    )
    (running.folder / "secret").write_text(f"{LATER}\n")
    assert run_module(running, check=True)["refused"] is True
    assert run_module(running)["changed"] is True
    assert running.accepts("ops", LATER)
    assert run_module(running)["changed"] is False


def test_module_fails_no_check_for_what_a_run_sees_to(running: Running) -> None:
    running.stop()
    found = run_module(running, check=True, url=f"http://127.0.0.1:{running.port}", user="admin")
    assert (found["changed"], found["refused"]) == (True, True)
    assert "does not answer" in found["msg"]


def test_module_fails_in_words(running: Running) -> None:
    running.stop()
    found = run_module(running, url=f"http://127.0.0.1:{running.port}", user="admin")
    assert found["failed"] is True
    assert "does not answer" in found["msg"]
    assert f"docker logs {CONTAINER}" in found["msg"]
