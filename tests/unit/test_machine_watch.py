"""The watch restarts what hangs, and nothing else."""

import http.server
import json
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

import machine.engine
from machine import watch
from machine.settings import Settings

STACK = "app"


class FakeEngine(socketserver.ThreadingUnixStreamServer):
    """Answers as the engine does, about replicas on loopback addresses of their own."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), EngineHandler)
        self.containers: dict[str, dict[str, Any]] = {}
        self.restarted: list[str] = []
        self.looked_at: list[str] = []
        self.filters: dict[str, list[str]] = {}
        self.away = False
        self.usage: dict[str, Any] | None = {
            "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
            "memory_stats": {"usage": 100_000, "stats": {"inactive_file": 30_000}},
        }

    def add(self, number: int, age_s: float = 3600, network: str = STACK) -> str:
        name = f"{STACK}-api-v1-{number}"
        started = datetime.now(UTC) - timedelta(seconds=age_s)
        self.containers[name] = {
            "Id": name,
            "Names": ["/" + name],
            "Status": f"Up {in_words(age_s)} (healthy)",
            "NetworkSettings": {"Networks": {network: {"IPAddress": f"127.0.9.{number}"}}},
            "Labels": {"stack.component": "api"},
            "State": {
                "Running": True,
                "StartedAt": started.strftime("%Y-%m-%dT%H:%M:%S.%f000Z"),
                "Health": {"Status": "healthy"},
            },
            "HostConfig": {"Memory": 256 << 20},
            "RestartCount": 3,
        }
        return name


def in_words(age_s: float) -> str:
    """Say an age as the engine's list does."""
    if age_s < 1:
        return "Less than a second"
    if age_s < 60:
        return f"{age_s:.0f} seconds"
    return "About a minute" if age_s < 120 else f"{age_s / 60:.0f} minutes"


class EngineHandler(http.server.BaseHTTPRequestHandler):
    server: FakeEngine

    def answer(self, status: int, content: Any) -> None:
        text = json.dumps(content).encode() if content is not None else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self.server.away:
            self.answer(500, {"message": "shutting down"})
        elif url.path == "/containers/json":
            filters = json.loads(parse_qs(url.query)["filters"][0])
            if "status" in filters:
                self.server.filters = filters
            self.answer(200, list(self.server.containers.values()))
        elif url.path.endswith("/stats"):
            assert parse_qs(url.query) == {"stream": ["false"], "one-shot": ["true"]}
            self.answer(200, self.server.usage)
        else:
            name = url.path.split("/")[2]
            self.server.looked_at.append(name)
            self.answer(200, self.server.containers[name])

    def do_POST(self) -> None:
        name = urlsplit(self.path).path.split("/")[2]
        assert self.path.endswith("/restart?t=1")
        self.server.restarted.append(name)
        self.server.add(int(name[-1]), age_s=0)
        self.answer(204, None)

    def address_string(self) -> str:
        return "watch"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class Replica(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def answering(number: int, port: int = 0) -> Iterator[int]:
    """Let a replica answer, as long as this lasts."""
    with http.server.ThreadingHTTPServer((f"127.0.9.{number}", port), Replica) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


class Watch(watch.Watch):
    """The watch of a stack whose files are in a folder."""

    def __init__(self, folder: Path, self_healing: bool = True) -> None:
        settings = Settings(STACK, folder, folder, folder / "metrics", run_dir=folder)
        super().__init__(settings, self_healing)

    def rounds(self, number: int, between: Callable[[int], Any] = lambda n: None) -> None:
        for n in range(1, number + 1):
            self.round()
            between(n)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    monkeypatch.setattr(machine.engine, "SOCKET", str(tmp_path / "engine.sock"))
    with FakeEngine(tmp_path / "engine.sock") as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Let the first replica answer, on the port that all of them have."""
    monkeypatch.setattr(watch, "TIMEOUT", 1)
    with answering(1) as found:
        monkeypatch.setattr(watch, "PORT", found)
        yield found


def test_a_replica_that_fails_three_times_is_restarted(
    tmp_path: Path, engine: FakeEngine, port: int
) -> None:
    engine.add(1)
    hung = engine.add(2)
    watching = Watch(tmp_path)
    watching.rounds(2)
    assert engine.restarted == []
    watching.rounds(4)
    assert engine.restarted == [hung]
    (line,) = (tmp_path / "history.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert (found["what"], found["result"]) == ("self-healing", f"restarted {hung}")
    assert engine.filters == {"label": ["stack=app", "stack.component=api"], "status": ["running"]}


def test_a_replica_that_answers_between_is_left_alone(
    tmp_path: Path, engine: FakeEngine, port: int
) -> None:
    engine.add(1)
    engine.add(2)
    watching = Watch(tmp_path)
    second = answering(2, port)

    def comes_back_once(n: int) -> None:
        if n == 2:
            second.__enter__()
        elif n == 3:
            second.__exit__(None, None, None)

    watching.rounds(5, comes_back_once)
    assert engine.restarted == []


def test_one_that_starts_has_its_time(tmp_path: Path, engine: FakeEngine, port: int) -> None:
    engine.add(1)
    engine.add(2, age_s=10)
    Watch(tmp_path).rounds(6)
    assert engine.restarted == []


def test_one_that_answered_and_hangs_soon_after_its_start_is_restarted(
    tmp_path: Path, engine: FakeEngine, port: int
) -> None:
    engine.add(1)
    young = engine.add(2, age_s=10)
    second = answering(2, port)
    second.__enter__()

    def hangs(n: int) -> None:
        if n == 1:
            second.__exit__(None, None, None)

    Watch(tmp_path).rounds(5, hangs)
    assert engine.restarted == [young]


def test_one_that_hangs_before_anybody_saw_it_answer_is_restarted(
    tmp_path: Path, engine: FakeEngine, port: int
) -> None:
    """It listens, so it has started: its two minutes are not waited for."""
    engine.add(1)
    young = engine.add(2, age_s=1)
    with socket.create_server(("127.0.9.2", port)):
        Watch(tmp_path).rounds(4)
    assert engine.restarted == [young]


def test_of_two_that_hang_one_is_restarted_at_a_time(
    tmp_path: Path, engine: FakeEngine, port: int
) -> None:
    names = [engine.add(2), engine.add(3)]
    watching = Watch(tmp_path)
    seen: list[int] = []
    watching.rounds(5, lambda n: seen.append(len(engine.restarted)))
    assert seen == [0, 0, 1, 2, 2]
    assert sorted(engine.restarted) == names


def test_while_a_run_changes_the_stack_nothing_is_restarted(
    tmp_path: Path, engine: FakeEngine, port: int
) -> None:
    engine.add(2)
    start = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    lock = tmp_path / "app.lock"
    lock.write_text(json.dumps({"pid": os.getpid(), "start": start}))
    watching = Watch(tmp_path)
    watching.rounds(5)
    assert engine.restarted == []
    # That run is gone.
    lock.write_text(json.dumps({"pid": os.getpid(), "start": "1"}))
    watching.rounds(3)
    assert len(engine.restarted) == 1


@pytest.mark.parametrize(("age_s", "looks"), [(3600, 1), (119, 5), (59, 5), (0, 5)])
def test_only_of_a_young_one_the_start_is_asked_for_again(
    tmp_path: Path, engine: FakeEngine, port: int, age_s: float, looks: int
) -> None:
    name = engine.add(2, age_s)
    watching = Watch(tmp_path)
    with answering(2, port):
        watching.rounds(5)
    # The first round writes the metrics, too.
    assert engine.looked_at.count(name) == looks + 1


def test_a_candidate_is_nobodys_replica(tmp_path: Path, engine: FakeEngine, port: int) -> None:
    engine.add(2, network="none")
    Watch(tmp_path).rounds(5)
    assert engine.restarted == []


def test_an_engine_that_is_away_is_said_once(
    tmp_path: Path, engine: FakeEngine, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    hung = engine.add(2)
    engine.away = True

    def comes_back(n: int) -> None:
        engine.away = n < 3

    Watch(tmp_path).rounds(6, comes_back)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:11] for line in lines] == ["cannot look", "restarted a"]
    assert engine.restarted == [hung]


# ---- metrics ------------------------------------------------------------------------------------


def metrics(folder: Path) -> dict[str, dict[str, float]]:
    """Return metric -> the container, or the words of a change -> value, as Prometheus reads it."""
    text = (folder / "metrics/stack.prom").read_text()
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            words = sample.labels.get("container") or " ".join(sample.labels.values())
            found.setdefault(sample.name, {})[words] = sample.value
    return found


@pytest.mark.parametrize("cache", ["inactive_file", "total_inactive_file"])
def test_containers_are_told_to_prometheus(
    tmp_path: Path, engine: FakeEngine, port: int, cache: str
) -> None:
    """Control groups of version 2 name what can be dropped in one way, of version 1 in another."""
    name = engine.add(1)
    assert engine.usage
    engine.usage["memory_stats"]["stats"] = {cache: 30_000}
    Watch(tmp_path).rounds(1)
    found = metrics(tmp_path)
    assert found["stack_container_cpu_seconds_total"] == {name: 2.5}
    assert found["stack_container_memory_bytes"] == {name: 70_000}
    assert found["stack_container_memory_limit_bytes"] == {name: 256 << 20}
    assert found["stack_container_restarts_total"] == {name: 3}
    assert found["stack_container_running"] == found["stack_container_healthy"] == {name: 1}
    assert time.time() - found["stack_container_started_timestamp_seconds"][name] > 3000


def test_one_that_ended_and_one_that_is_ill_are_told_apart(
    tmp_path: Path, engine: FakeEngine, port: int
) -> None:
    ended, ill = engine.add(1), engine.add(2)
    engine.containers[ended]["State"] |= {"Running": False, "Health": {}}
    engine.containers[ill]["State"] |= {"Health": {"Status": "unhealthy"}}
    passing = engine.add(3)
    engine.containers[passing]["Names"] = [f"/{STACK}-api-v1-3-before"]
    Watch(tmp_path).rounds(1)
    found = metrics(tmp_path)
    assert found["stack_container_running"] == {ended: 0, ill: 1}
    assert found["stack_container_healthy"] == {ended: 1, ill: 0}
    assert list(found["stack_container_memory_bytes"]) == [ill]


@pytest.mark.parametrize("usage", [None, {}, {"memory_stats": None}])
def test_one_that_ends_while_it_is_looked_at_ends_nothing_else(
    tmp_path: Path, engine: FakeEngine, port: int, usage: dict[str, Any] | None
) -> None:
    engine.add(1)
    hung = engine.add(2)
    engine.usage = usage
    Watch(tmp_path).rounds(5)
    assert engine.restarted == [hung]


def test_the_last_changes_are_told_once_each(tmp_path: Path, engine: FakeEngine, port: int) -> None:
    def change(minute: int, what: str) -> str:
        time = f"2026-01-01T00:{minute:02}:00Z"
        line = {"time": time, "what": what, "who": "ana", "result": "done", "seconds": 7}
        return json.dumps(line)

    lines = [change(0, "of long ago"), *(change(n, "a") for n in range(1, 19)), change(30, 'b"\\')]
    # The last line is cut off: a full disk, or a power cut.
    (tmp_path / "history.jsonl").write_text("\n".join([*lines, '{"time": "2026-01-01T0']))
    Watch(tmp_path).rounds(1)
    start = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert metrics(tmp_path)["stack_change_timestamp_seconds"] == {
        "a  done": start + 18 * 60 + 7,
        'b"\\  done': start + 30 * 60 + 7,
    }


def test_where_healing_is_off_nothing_is_restarted_and_metrics_go_on(
    tmp_path: Path, engine: FakeEngine, port: int
) -> None:
    engine.add(2)
    Watch(tmp_path, self_healing=False).rounds(5)
    assert engine.restarted == []
    assert "stack_container_running" in metrics(tmp_path)


# ---- a new program ------------------------------------------------------------------------------


def test_it_starts_anew_once_its_program_or_settings_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / "app", tmp_path / "watch.json"]
    for path in files:
        path.write_text('{"self_healing": true}')
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            # Gone for a moment is not replaced.
            files[0].rename(tmp_path / "app.old")
        elif len(pauses) == 3:
            (tmp_path / "new").write_text("new")
            (tmp_path / "new").replace(files[0])

    def execute(program: str, words: list[str]) -> None:
        assert (program, words) == (sys.executable, sys.orig_argv)
        raise SystemExit("anew")

    monkeypatch.setattr("time.sleep", pause)
    monkeypatch.setattr("os.execv", execute)
    monkeypatch.setattr(watch.Watch, "round", lambda self: None)
    with pytest.raises(SystemExit, match="anew"):
        watch.run(Settings(STACK, tmp_path, tmp_path, tmp_path), files)
    assert pauses == [watch.PAUSE] * 3
