"""Fixtures of the unit tests. What is heavy is imported inside, so that light tests stay light."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from starlette.types import ASGIApp

    from api.model import Predictor
    from unit.fake_machine import Machine

ROOT = Path(__file__).resolve().parents[2]
HEALTHCHECK = ROOT / "src/api/healthcheck.sh"
REPLICA = "test-1"


@pytest.fixture
def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Machine:
    """A machine with the stack's command and an engine of its own."""
    from unit.fake_machine import Machine

    return Machine(tmp_path, monkeypatch, capfd)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the sample's 13 classes, as in the image: model/ may hold one of the user's."""
    from api.compile import compile_model
    from gen_model import main

    folder = tmp_path_factory.mktemp("model")
    sample = str(ROOT / "data/tweet_emotions.csv")
    quick = ["--folds", "2", "--repeats", "1", "--jobs", "1"]
    assert main(["--data", sample, "--out", str(folder), *quick]) == 0
    (folder / "compiled.jsonl").write_bytes(compile_model(folder))
    return folder


@pytest.fixture(scope="session")
def pipeline(model_dir: Path) -> Any:
    """The scikit-learn pipeline itself, to hold answers against."""
    import joblib

    return joblib.load(model_dir / "model.joblib")


@pytest.fixture(scope="session")
def compiled(model_dir: Path) -> Predictor:
    """The compiled predictor; tests leave it as it is."""
    from api.loader import load_predictor

    predictor = load_predictor(model_dir)
    assert predictor.kind == "compiled"
    return predictor


@pytest.fixture(scope="session")
def generic(pipeline: Any, compiled: Predictor) -> Predictor:
    """The same model, served by scikit-learn."""
    from api.pipeline import GenericPredictor

    return GenericPredictor(compiled.manifest, pipeline, "asked for by a test")


@pytest.fixture(scope="session")
def manifest(model_dir: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((model_dir / "model.json").read_text())
    return card


@pytest.fixture(scope="session")
def apps(model_dir: Path) -> dict[str, ASGIApp]:
    """Both variants, built by their own entry points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPLICA", REPLICA)
        patch.setenv("MODEL_DIR", str(model_dir))
        return {v: importlib.import_module(f"api.{v}.main").app for v in ("v1", "v2")}


@pytest.fixture(params=["v1", "v2"])
def client(request: pytest.FixtureRequest, apps: dict[str, ASGIApp]) -> TestClient:
    """A client of each variant in turn."""
    from fastapi.testclient import TestClient

    return TestClient(apps[request.param])


@pytest.fixture
def v1(apps: dict[str, ASGIApp]) -> TestClient:
    from fastapi.testclient import TestClient

    return TestClient(apps["v1"])


@pytest.fixture
def v2(apps: dict[str, ASGIApp]) -> TestClient:
    from fastapi.testclient import TestClient

    return TestClient(apps["v2"])


@pytest.fixture
def client_of(apps: dict[str, ASGIApp]) -> Callable[[Any], TestClient]:
    """Make a client of a v2 whose predictor is the given one; `apps` sets the environment."""
    from fastapi.testclient import TestClient

    from api.app import build_app

    main = importlib.import_module("api.v2.main")
    return lambda predictor: TestClient(
        build_app("v2", main.Answer, main.answer, REPLICA, predictor)
    )


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Read what the service has logged since the test began, as the container would write it."""
    from api.log import JsonFormatter

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(REPLICA))
    # Not on the root: the test client logs its requests, too.
    logger = logging.getLogger("api")
    logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """Make the environment of a container, on this machine's paths."""

    def make(model_dir: Path, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "MODEL_DIR": str(model_dir),
            "REPLICA": REPLICA,
            **more,
        }

    return make


class Service:
    """A running `python -m api.serve`, its port and its output so far."""

    def __init__(self, environment: dict[str, str], output: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.output = output
        self.environment = environment | {"PORT": str(self.port)}
        with output.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api.serve"],
                env=self.environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 30
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                pytest.fail(f"the service did not start:\n{output.read_text()}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        command = ["bash", str(HEALTHCHECK), str(self.port)]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0

    def exchange(self, request: bytes) -> bytes:
        """Send raw bytes and return the raw answer, up to the end of the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]


@pytest.fixture(scope="session")
def start_service(
    model_dir: Path,
    environment: Callable[..., dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Service]]:
    """Start real servers, for the tests that need a process and a socket."""
    started: list[Service] = []

    def start(model: Path = model_dir, variant: str = "v2") -> Service:
        log = tmp_path_factory.mktemp("service") / "log"
        started.append(Service(environment(model, VARIANT=variant), log))
        return started[-1]

    yield start
    for service in started:
        service.process.kill()
        service.process.wait()


@pytest.fixture(scope="session")
def service(start_service: Callable[..., Service]) -> Service:
    """One server that tests share, and leave alive."""
    return start_service()
