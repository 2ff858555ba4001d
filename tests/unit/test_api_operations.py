"""Health, metrics, headers, logs and the process itself."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

HEALTHCHECK = Path(__file__).resolve().parents[2] / "src/api/healthcheck.sh"
LEAK = "Kx7Leak"
LogLines = Callable[[], list[dict[str, Any]]]


def samples(client: TestClient) -> dict[str, float]:
    """Scrape the metrics: `name{labels}` to value."""
    lines = client.get("/metrics").text.splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_livez_answers(client: TestClient) -> None:
    answer = client.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_readyz_answers_with_replica_and_model_version(
    client: TestClient, manifest: dict[str, Any]
) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "replica": "test-1",
        "model_version": manifest["version"],
    }


def test_readyz_is_503_when_the_model_no_longer_answers_as_recorded(
    client_of: Callable[[Any], TestClient], model_dir: Path
) -> None:
    from api.compiled import CompiledPredictor
    from api.loader import load_predictor

    predictor = load_predictor(model_dir)
    assert isinstance(predictor, CompiledPredictor)
    client = client_of(predictor)
    assert client.get("/readyz").status_code == 200
    predictor._intercept[0] += 1
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["error"]) == (503, "not_ready")


@pytest.mark.parametrize(
    "path", ["/predict", "/predict/batch", "/livez", "/readyz", "/metrics", "/nowhere"]
)
def test_every_answer_names_the_replica_and_the_request(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["x-served-by"] == "test-1"
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


@pytest.mark.parametrize("given", ["a", "A-b_9", "f" * 64])
def test_request_id_of_the_gateway_is_kept(client: TestClient, given: str) -> None:
    assert client.get("/livez", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "f" * 65, "a b", 'a"b', "a\u00e9", "a/../b", "a\tb"])
def test_unfit_request_id_is_replaced(client: TestClient, given: str) -> None:
    headers = {"x-request-id": given.encode("latin-1")}
    answer = client.get("/livez", headers=headers)
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_metrics_count_outcomes_latency_and_labels(client: TestClient) -> None:
    before = samples(client)
    label = client.post("/predict", json={"sentence": "I love you"}).json()["prediction value"]
    client.post("/predict", json={"sentence": 1})
    client.get("/nowhere")
    after = samples(client)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('api_requests_total{outcome="ok",status="2xx"}') == 1
    assert grown('api_requests_total{outcome="invalid_request",status="4xx"}') == 1
    assert grown('api_requests_total{outcome="not_found",status="4xx"}') == 1
    assert grown("api_request_duration_seconds_count") == 2
    assert grown(f'api_predictions_total{{label="{label}"}}') == 1
    assert grown("api_prediction_confidence_count") == 1
    # The difference of two sums of shares that earlier tests made of random sentences.
    assert grown("api_prediction_coverage_sum") == pytest.approx(1, abs=1e-9)


def test_metrics_count_each_sentence_of_a_batch(client: TestClient) -> None:
    before = samples(client)
    client.post("/predict/batch", json={"sentences": ["I love you", "qzxvw kkjhgf", "qzxvw"]})
    after = samples(client)
    for name, grown in {
        'api_requests_total{outcome="ok",status="2xx"}': 1,
        "api_request_duration_seconds_count": 0,  # a batch takes as long as it is large
        "api_prediction_confidence_count": 3,
        "api_prediction_coverage_count": 3,
        'api_prediction_coverage_bucket{le="0.0"}': 2,
    }.items():
        assert after[name] - before[name] == grown, name


def test_metrics_tell_which_predictor_serves_and_whether_it_was_to_be_compiled(
    client_of: Callable[[Any], TestClient], generic: Any, compiled: Any, pipeline: Any
) -> None:
    from api.compiled import DIFFERS
    from api.pipeline import GenericPredictor

    differs = GenericPredictor(compiled.manifest, pipeline, DIFFERS)
    for predictor, value in ((compiled, 0), (generic, 0), (differs, 1)):
        client = client_of(predictor)
        client.post("/predict", json={"sentence": "a"})
        found = samples(client)
        assert found["api_model_not_compiled"] == value
        assert any(f'predictor="{predictor.kind}"' in name for name in found)
        assert found["api_prediction_coverage_count"] == (predictor is compiled)


def test_metrics_hold_every_series_from_the_start(
    client_of: Callable[[Any], TestClient], model_dir: Path, manifest: dict[str, Any]
) -> None:
    from api.loader import load_predictor

    found = samples(client_of(load_predictor(model_dir)))
    for label in manifest["classes"]:
        assert found[f'api_predictions_total{{label="{label}"}}'] == 0
    assert found['api_requests_total{outcome="internal_error",status="5xx"}'] == 0
    version = manifest["version"]
    name = manifest["name"]
    labels = f'name="{name}",predictor="compiled",variant="v2",version="{version}"'
    assert found[f"api_model_info{{{labels}}}"] == 1
    assert found["process_resident_memory_bytes"] > 0


def test_latency_buckets_resolve_less_than_a_millisecond(client: TestClient) -> None:
    bounds = re.findall(r'seconds_bucket\{le="([0-9.]+)"\}', client.get("/metrics").text)
    assert len([bound for bound in bounds if float(bound) < 0.001]) >= 3


def test_strange_requests_add_no_series(client: TestClient) -> None:
    client.get("/first")
    client.request("BREW", "/predict")
    before = set(samples(client))
    for n in range(20):
        client.get(f"/path-{n}")
        client.request(f"BREW{n}", "/predict")
    assert set(samples(client)) == before


def test_health_and_metrics_are_neither_logged_nor_counted(
    client: TestClient, log_lines: LogLines
) -> None:
    before = samples(client)
    for path in ("/livez", "/readyz", "/metrics"):
        client.get(path)
    after = samples(client)
    assert log_lines() == []
    requests = {name for name in after if name.startswith(("api_requests", "api_request_"))}
    assert {name: after[name] for name in requests} == {name: before[name] for name in requests}


def test_each_request_is_one_line_of_log(client: TestClient, log_lines: LogLines) -> None:
    client.post("/predict?q=Kx7Leak", json={"sentence": LEAK}, headers={"x-request-id": "r-1"})
    (line,) = log_lines()
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
    assert 0 < line.pop("duration_ms") < 1000
    assert {key: line[key] for key in line if key != "time"} == {
        "level": "info",
        "replica": "test-1",
        "logger": "api.request",
        "message": "request",
        "request_id": "r-1",
        "method": "POST",
        "path": "/predict",
        "status": 200,
    }


def test_log_never_holds_the_sentence_nor_a_long_path(
    client: TestClient, log_lines: LogLines
) -> None:
    for body in (f'{{"sentence": "{LEAK}"}}', f'{{"sentence": ["{LEAK}"]}}', LEAK):
        client.post("/predict", content=body, headers={"content-type": "application/json"})
    client.get("/" + "p" * 5000)
    lines = log_lines()
    assert len(lines) == 4
    assert LEAK not in json.dumps(lines)
    assert len(lines[-1]["path"]) == 200


def test_line_break_in_a_path_cannot_forge_a_log_line(
    client: TestClient, log_lines: LogLines
) -> None:
    client.get('/x%0a{"level":"error"}')
    assert [line["path"] for line in log_lines()] == ['/x\n{"level":"error"}']


# --- the process -----------------------------------------------------------------------------


def test_server_names_neither_itself_nor_its_version(service: Any) -> None:
    answer = service.exchange(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nserver:" not in answer.lower()
    assert b"uvicorn" not in answer.lower()


@pytest.mark.parametrize(
    "request_line", [b"GET /Kx7Leak\xff HTTP/1.1", b"GARBAGE", b"GET / HTTP/9.9", b"\x16\x03\x01"]
)
def test_what_is_not_http_is_400_in_the_same_shape(service: Any, request_line: bytes) -> None:
    answer = service.exchange(request_line + b"\r\nHost: x\r\n\r\n")
    head, _, content = answer.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:])
    body = json.loads(content)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert headers["content-type"] == "application/json"
    assert headers["x-served-by"] == "test-1"
    assert list(body) == ["error", "detail", "request_id"]
    assert (body["error"], body["request_id"]) == ("bad_request", headers["x-request-id"])
    assert LEAK.encode() not in answer


def test_server_keeps_a_connection_open(service: Any) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert service.exchange(request + last).count(b"HTTP/1.1 200") == 2


def test_server_does_not_switch_to_a_web_socket(service: Any) -> None:
    answer = service.exchange(
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200")


def test_client_that_goes_away_is_not_an_error_of_ours(service: Any) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"X-Request-ID: gone\r\nContent-Length: 100\r\n\r\n{"
        )
    deadline = time.monotonic() + 5
    while not (lines := [li for li in service.log() if li.get("request_id") == "gone"]):
        assert time.monotonic() < deadline, "no log line for the request"
        time.sleep(0.02)
    assert [(line["status"], line["level"]) for line in lines] == [(499, "info")]


def healthcheck(port: int, timeout: str = "2") -> int:
    """Run it as Docker does and return its exit status."""
    command = ["bash", str(HEALTHCHECK)]
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), "TIMEOUT_SECONDS": timeout}
    return subprocess.run(command, env=environment, timeout=30).returncode


def test_healthcheck_tells_ready_from_not(service: Any) -> None:
    assert healthcheck(service.port) == 0
    # Port 1 of the loopback interface has no listener.
    assert healthcheck(1) == 1


def test_healthcheck_refuses_a_service_that_answers_503() -> None:
    import http.server
    import threading

    class Unready(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Unready) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert healthcheck(server.server_port) == 1


def test_healthcheck_gives_up_on_a_service_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert healthcheck(silent.getsockname()[1], "0.1") == 1


def test_every_line_of_the_process_is_json_and_none_is_an_access_log(service: Any) -> None:
    service.exchange(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    lines = service.log()
    assert {"time", "level", "replica", "logger", "message"} <= set.intersection(*map(set, lines))
    loggers = {line["logger"] for line in lines}
    assert {"api", "api.request", "uvicorn.error"} <= loggers
    assert "uvicorn.access" not in loggers


def test_sigterm_lets_the_running_request_finish(start_service: Callable[[], Any]) -> None:
    service = start_service()
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 17\r\n\r\n"
        )
        time.sleep(0.2)  # the server has the head and waits for the body
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        connection.sendall(b'{"sentence": "a"}')
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    # uvicorn raises the signal again when it has finished; process 1 of a container ignores it.
    assert service.process.wait(timeout=8) in (0, -signal.SIGTERM)
    assert service.log()[-1]["message"].startswith("Finished server process")


def test_server_waits_longer_than_the_gateway_and_less_than_docker(
    apps: object, monkeypatch: pytest.MonkeyPatch, model_dir: Path
) -> None:
    from api import serve

    options: dict[str, Any] = {}
    monkeypatch.setattr("uvicorn.run", lambda app, **given: options.update(given))
    monkeypatch.setenv("VARIANT", "v1")
    monkeypatch.setenv("MODEL_DIR", str(model_dir))
    serve.main()
    assert options["timeout_keep_alive"] > 4
    assert options["timeout_graceful_shutdown"] < 15
    assert (options["host"], options["port"]) == ("0.0.0.0", 8000)
    assert options["proxy_headers"] is False
