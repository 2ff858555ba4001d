"""Throws generated requests at a replica of its own: `make fuzz`, and part of `make test`.

Schemathesis makes them from the OpenAPI document, good ones and bad ones; then come bodies that
are spoilt byte by byte. Afterwards the very same process must be ready, must have answered at
least 5,000 requests, and none of them with a 5xx. The log is what is counted.
"""

import collections
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from api.compile import compile_model

ROOT = Path(__file__).resolve().parents[1]
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


def throw_spoilt_bodies(url: str, seed: int) -> None:
    """Post spoilt bodies and check that every refusal is JSON."""
    chance = random.Random(seed)
    with httpx.Client(
        base_url=url, headers={"content-type": "application/json"}, trust_env=False
    ) as client:
        for _ in range(SPOILT):
            path = chance.choice(list(GOOD))
            body = spoil(GOOD[path], chance)
            answer = client.post(path, content=body)
            if answer.status_code not in (200, 400, 413, 422) or not answer.json():
                raise SystemExit(f"{path} answered {answer.status_code} to {body[:200]!r}")


def main() -> int:
    """Run everything on a free port of the loopback interface; 0 when nothing went wrong."""
    seed = random.SystemRandom().randrange(2**32)
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        for name in ("model.joblib", "model.json"):
            Path(folder, name).write_bytes((ROOT / "model" / name).read_bytes())
        Path(folder, "compiled.jsonl").write_bytes(compile_model(Path(folder)))
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
        free.close()
        url = f"http://127.0.0.1:{port}"
        log = Path(folder, "log")
        settings = {"VARIANT": "v2", "MODEL_DIR": folder, "PORT": str(port)}
        with log.open("wb") as output:
            replica = subprocess.Popen(
                [sys.executable, "-m", "api.serve"],
                env=os.environ | settings | {"PYTHONPATH": str(ROOT / "src")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not is_ready(url):
                if replica.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the replica did not start:\n{log.read_text()}")
                time.sleep(0.1)
            print(f"seed {seed}", flush=True)
            fuzzer = str(Path(sys.executable).with_name("schemathesis"))
            command = [fuzzer, "run", f"{url}/openapi.json", "--max-examples", str(EXAMPLES)]
            command += ["--continue-on-failure", "--no-color", "--seed", str(seed)]
            ended = subprocess.run(command, cwd=folder)
            throw_spoilt_bodies(url, seed)
            alive = is_ready(url) and replica.poll() is None
        finally:
            replica.terminate()
            replica.wait(15)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    found = collections.Counter(line["status"] for line in lines if line["message"] == "request")
    counts = f"{found.total()} requests by status: {dict(sorted(found.items()))}"
    wrong = [status for status in found if status >= 500]
    if ended.returncode or wrong or not alive or found.total() < FEWEST:
        print(f"FAIL {counts}; Schemathesis ended with {ended.returncode}, alive {alive}")
        return 1
    print(f"PASS {counts}: no 5xx, the same process is ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
