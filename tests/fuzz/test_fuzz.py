"""Thousands of generated requests at a replica of its own.

Schemathesis makes them from the OpenAPI document, good ones and bad ones; then come bodies that
are spoilt byte by byte. Afterwards the very same process must be ready, must have answered at
least 5,000 requests, and none of them with a 5xx. The log is what is counted.
"""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from api.compile import compile_model

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = 1100
"""Of Schemathesis, for each of the two paths."""
SPOILT = 3000
FEWEST = 5000
READY_SECONDS = 30

GOOD = {
    "/predict": b'{"sentence": "I love the ice cream \\ud83d\\ude00 \xc3\xa9"}',
    "/predict/batch": b'{"sentences": ["so sad", "I hate \\"rain\\"", "\xe6\x84\x9b"]}',
}
PIECES = [
    *(b"\x00 \xff \xef\xbb\xbf \xed\xa0\x80 \\ud800 \\u0000 NaN Infinity -1e999 null".split(b" ")),
    *(b'{ } [ ] " : , \\ {"a":1} "sentence": "sentences":'.split(b" ")),
    b"[" * 3000,
    b'{"a":' * 3000,
    b"9" * 5000,
    b"a" * 70_000,
]


def spoil(body: bytes, chance: random.Random) -> bytes:
    """Insert, remove or repeat up to four pieces."""
    for _ in range(chance.randint(1, 4)):
        start, end = sorted(chance.randint(0, len(body)) for _ in range(2))
        middle = chance.choice([b"", body[start:end] * 2, *PIECES])
        body = body[:start] + middle + body[end if chance.random() < 0.5 else start :]
    return body


def is_ready(url: str) -> bool:
    """Ask the replica itself."""
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def seed() -> int:
    """Print the seed, so that a failure can be made again."""
    found = random.SystemRandom().randrange(2**32)
    print(f"seed {found}")
    return found


class Replica(NamedTuple):
    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def statuses(self) -> Counter[int]:
        """Count the requests of the log by status."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return Counter(line["status"] for line in lines if line["message"] == "request")


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """Start v2 on a free port of the loopback interface."""
    for name in ("model.joblib", "model.json"):
        (tmp_path / name).write_bytes((ROOT / "model" / name).read_bytes())
    (tmp_path / "compiled.jsonl").write_bytes(compile_model(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    settings = {"VARIANT": "v2", "MODEL_DIR": str(tmp_path), "PORT": str(port)}
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.serve"],
            env=os.environ | settings | {"PYTHONPATH": str(ROOT / "src")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready(url := f"http://127.0.0.1:{port}"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            # Between two looks at a process that starts.
            time.sleep(0.1)
        yield Replica(url, log, process)
    finally:
        process.terminate()
        process.wait(15)


def throw_generated_requests(url: str, seed: int, folder: Path) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"]
    command += ["--max-examples", str(EXAMPLES), "--continue-on-failure", "--no-color"]
    done = subprocess.run(
        [*command, "--seed", str(seed)], cwd=folder, check=False,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def throw_spoilt_bodies(url: str, seed: int) -> None:
    """Post spoilt bodies; every refusal has to be JSON."""
    chance = random.Random(seed)
    headers = {"content-type": "application/json"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        for _ in range(SPOILT):
            path = chance.choice(list(GOOD))
            body = spoil(GOOD[path], chance)
            answer = client.post(path, content=body)
            assert answer.status_code in (200, 400, 413, 422), body[:200]
            assert answer.json(), body[:200]


def test_no_request_ends_a_replica_or_gets_a_5xx(
    replica: Replica, seed: int, tmp_path: Path
) -> None:
    throw_generated_requests(replica.url, seed, tmp_path)
    throw_spoilt_bodies(replica.url, seed)
    statuses = replica.statuses()
    assert replica.process.poll() is None
    assert is_ready(replica.url)
    assert statuses.total() >= FEWEST, statuses
    assert [status for status in statuses if status >= 500] == [], statuses
