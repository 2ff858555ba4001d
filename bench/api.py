"""Measures the service against other ways to serve the same model: `make -C bench api`.

All run at once and idle but one, each with one worker on the first core; the load comes from wrk
on the second. Rounds are interleaved, so that what else the machine does meets all alike. Writes
docs/benchmarks/api.md and api.svg.
"""

import datetime
import html
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import direct

ROOT = Path(__file__).resolve().parents[1]
APPS = ROOT / "bench" / "apps"
VENVS = ROOT / ".cache" / "bench"
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_EACH", "3"))
CONNECTIONS = (1, 32)
COLOURS = ("#9bbfe0", "#2b6ca8")
READY_SECONDS = 120
LIBRARIES = re.findall(
    r"(?m)^(?:scikit-learn|numpy|scipy|joblib)==\S+",
    (ROOT / "src/api/requirements.txt").read_text(),
)


@dataclass
class Engine:
    """One way to serve the model, and what was measured of it."""

    name: str
    command: list[str]
    """{bin} stands for the folder of its Python, {port} for its port, {work} for a folder."""
    package: str = ""
    """What pip installs into a virtual environment of its own; empty: the project's own."""
    path: str = "/predict"
    body: str = '{"sentence": %s}'
    """%s stands for the sentence as JSON."""
    problem: str = ""
    ready_s: float = 0.0
    memory_mb: float = 0.0
    rates: dict[int, list[float]] = field(default_factory=lambda: {c: [] for c in CONNECTIONS})
    p50_ms: dict[int, list[float]] = field(default_factory=lambda: {c: [] for c in CONNECTIONS})
    process: subprocess.Popen[bytes] | None = None
    port: int = 0


ENGINES = [
    Engine("this service", ["{bin}/python", "-m", "api.serve"]),
    Engine("this service, infers nothing", ["{bin}/python", str(APPS / "idle.py")]),
    Engine("bare FastAPI", ["{bin}/python", str(APPS / "bare.py")]),
    Engine("usual example", ["{bin}/python", str(APPS / "usual.py")]),
    Engine("LitServe", ["{bin}/python", str(APPS / "litserve_app.py")], package="litserve"),
    Engine(
        "BentoML",
        "{bin}/bentoml serve bentoml_app:Emotions --port {port} --host 127.0.0.1".split(),
        package="bentoml",
    ),
    Engine(
        "MLServer",
        ["{bin}/mlserver", "start", "{work}"],
        package="mlserver",
        path="/v2/models/emotions/infer",
        body='{"inputs": [{"name": "sentence", "shape": [1], "datatype": "BYTES", "data": [%s]}]}',
    ),
]


def install(engine: Engine) -> Path:
    """Return the folder of the engine's programs; installs it at the first run.

    Raises:
        RuntimeError: pip could not install it; the message is its last word.
    """
    if not engine.package:
        return Path(sys.executable).parent
    venv = VENVS / engine.package
    if not (venv / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        pip = [str(venv / "bin/pip"), "install", "-q", "--no-compile"]
        # The model's libraries afterwards: an engine that asks for others still has to load it.
        for packages in ([engine.package], ["--upgrade", *LIBRARIES]):
            ended = subprocess.run([*pip, *packages], capture_output=True, text=True)
            if ended.returncode:
                raise RuntimeError(f"pip: {ended.stderr.strip().splitlines()[-1]}")
        (venv / "installed").touch()
    return venv / "bin"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start(engine: Engine, model: Path, work: Path) -> None:
    """Start it on the first core, and wait until it has answered.

    Raises:
        RuntimeError: it cannot be installed, ends, or does not answer in time.
    """
    folder = work / re.sub(r"\W", "-", engine.name)
    folder.mkdir()
    places = {"bin": str(install(engine)), "port": str(engine.port), "work": str(folder)}
    ports = {"http_port": engine.port, "grpc_port": free_port(), "metrics_port": free_port()}
    (folder / "settings.json").write_text(
        json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports})
    )
    (folder / "model-settings.json").write_text(
        json.dumps({"name": "emotions", "implementation": "mlserver_app.Emotions"})
    )
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": f"{ROOT / 'src'}:{APPS}",
        "MODEL_DIR": str(model),
        "PORT": str(engine.port),
        "VARIANT": "v1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder),
    }
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        engine.process = subprocess.Popen(
            ["taskset", "-c", "0", *(word.format_map(places) for word in engine.command)],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while not answers(engine):
        if engine.process.poll() is not None or time.monotonic() - began > READY_SECONDS:
            last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"did not start: {''.join(last)[:200]}")
        time.sleep(0.02)
    engine.ready_s = time.monotonic() - began


def answers(engine: Engine) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{engine.port}{engine.path}",
        data=(engine.body % '"I love the ice cream"').encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with direct.open_url(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def family(root: int) -> Iterator[Path]:
    """Give the folders in /proc of a process and all its descendants."""
    pending = [root]
    while pending:
        folder = Path(f"/proc/{pending.pop()}")
        try:
            for task in (folder / "task").iterdir():
                pending += map(int, (task / "children").read_text().split())
        except OSError:
            continue
        yield folder


def memory_mb(root: int) -> float:
    """Proportional set size of a process and all its descendants, in MB."""
    kb = 0
    for folder in family(root):
        with suppress(OSError):
            kb += int(re.findall(r"Pss: +(\d+)", (folder / "smaps_rollup").read_text())[0])
    return kb / 1024


def load(engine: Engine, connections: int, script: Path, seconds: int) -> tuple[float, float]:
    """Return requests a second and the median latency in ms.

    Raises:
        RuntimeError: an answer was not 2xx.
    """
    options = {"threads": 1, "connections": connections, "duration": f"{seconds}s"}
    ended = subprocess.run(
        [
            *("taskset -c 1 wrk --latency --script".split()),
            str(script),
            *(f"--{name}={value}" for name, value in options.items()),
            f"http://127.0.0.1:{engine.port}{engine.path}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in ended.stdout:
        raise RuntimeError("it answered with errors under load")
    value, unit = re.findall(r"50%\s+([\d.]+)(us|ms|s)\b", ended.stdout)[0]
    rate = float(re.findall(r"Requests/sec:\s+([\d.]+)", ended.stdout)[0])
    return rate, float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def wrk_script(engine: Engine, sentences: list[str], folder: Path) -> Path:
    """Write what wrk sends: the sentences in turn."""
    bodies = [engine.body % json.dumps(sentence) for sentence in sentences]
    path = folder / f"{engine.port}.lua"
    path.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f"local bodies = {{{', '.join(f'[===[{body}]===]' for body in bodies)}}}\n"
        "local n = 0\nfunction request()\n  n = n % #bodies + 1\n"
        "  return wrk.format(nil, nil, nil, bodies[n])\nend\n"
    )
    return path


def ratio(engine: Engine, other: Engine, connections: int, of: str = "rates") -> float:
    """Return the median over the rounds of engine / other."""
    pairs = zip(getattr(engine, of)[connections], getattr(other, of)[connections], strict=True)
    return float(statistics.median(a / b for a, b in pairs))


def table() -> str:
    """Return the document."""
    ours = ENGINES[0]
    lines = [
        "# The service beside other ways to serve the same model",
        "",
        f"Written by `make -C bench api` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}: "
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}. One worker on one core, wrk on "
        f"the other; {ROUNDS} interleaved rounds of {SECONDS} s; medians. The machine is shared: "
        "read the ratios, which are medians over the rounds, not the figures.",
        "",
        "![Requests a second](api.svg)",
        "",
        "| | requests/s at 1 | p50 ms at 1 | requests/s at 32 | p50 ms at 32 | ours is, at 1 "
        "| at 32 | start to first answer, s | memory, MB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for engine in ENGINES:
        if engine.problem:
            lines.append(f"| {engine.name} | {engine.problem.replace('|', '/')} |" + " |" * 7)
            continue
        cells = [
            f"{statistics.median(values[c]):{form}}"
            for c in CONNECTIONS
            for values, form in ((engine.rates, ".0f"), (engine.p50_ms, ".2f"))
        ]
        times = [f"{ratio(ours, engine, c):.2f}x" for c in CONNECTIONS]
        rest = [f"{engine.ready_s:.1f}", f"{engine.memory_mb:.0f}"]
        lines.append(f"| {' | '.join([engine.name, *cells, *times, *rest])} |")
    lines += [
        "",
        "Memory is the proportional set size (PSS) of all processes after the rounds. *This "
        "service, infers nothing* is the same application with log and metrics and a constant for "
        "an answer; *bare FastAPI* reads no body, logs nothing and counts nothing; the *usual "
        "example* is a sync handler with `predict` and `predict_proba`. The model servers run "
        "with one worker and without batching.",
        "",
    ]
    return "\n".join(lines)


def plot() -> str:
    """Return a bar chart of the requests a second as SVG."""
    shown = [engine for engine in ENGINES if not engine.problem]
    top = max(statistics.median(e.rates[c]) for e in shown for c in CONNECTIONS)
    height = 60 + 46 * len(shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" role="img" '
        'font-family="sans-serif" font-size="13">',
        "<title>Requests a second at 1 and at 32 connections</title>",
        f'<rect width="760" height="{height}" fill="#fff"/>',
        '<rect x="220" y="14" width="12" height="12" fill="#9bbfe0"/>'
        '<text x="238" y="25">1 connection</text>'
        '<rect x="360" y="14" width="12" height="12" fill="#2b6ca8"/>'
        '<text x="378" y="25">32 connections, requests a second</text>',
    ]
    for row, engine in enumerate(shown):
        y = 46 + 46 * row
        name = html.escape(engine.name)
        parts.append(f'<text x="208" y="{y + 20}" text-anchor="end">{name}</text>')
        for line, connections in enumerate(CONNECTIONS):
            rate = statistics.median(engine.rates[connections])
            width, colour = round(460 * rate / top), COLOURS[line]
            parts.append(
                f'<rect x="220" y="{y + 17 * line}" width="{width}" height="15" fill="{colour}"/>'
                f'<text x="{226 + width}" y="{y + 12 + 17 * line}">{rate:.0f}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


def measure(model: Path, work: Path) -> None:
    """Start all engines and run the rounds."""
    card = json.loads((model / "model.json").read_text())
    sentences = [golden["sentence"] for golden in card["golden"]]
    for engine in ENGINES:
        engine.port = free_port()
        try:
            start(engine, model, work)
            load(engine, 32, wrk_script(engine, sentences, work), 1)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            engine.problem = str(error)
        print(f"{engine.name}: {engine.problem or f'ready in {engine.ready_s:.1f} s'}", flush=True)
    running = [engine for engine in ENGINES if not engine.problem]
    for number in range(ROUNDS):
        for connections in CONNECTIONS:
            for engine in running:
                rate, p50 = load(engine, connections, work / f"{engine.port}.lua", SECONDS)
                engine.rates[connections].append(rate)
                engine.p50_ms[connections].append(p50)
                print(f"round {number + 1}, {connections}: {engine.name} {rate:.0f}/s", flush=True)
    for engine in running:
        assert engine.process is not None
        engine.memory_mb = memory_mb(engine.process.pid)


def stop() -> None:
    """End every process group that was started here."""
    for engine in ENGINES:
        if engine.process is not None:
            try:
                os.killpg(engine.process.pid, signal.SIGTERM)
                engine.process.wait(15)
            except ProcessLookupError:
                continue
            except subprocess.TimeoutExpired:
                os.killpg(engine.process.pid, signal.SIGKILL)


def main() -> int:
    """Measure and write both files."""
    for program in ("wrk", "taskset"):
        if not shutil.which(program):
            print(f"{program} is missing. Debian: apt-get install wrk util-linux", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory() as folder:
        work, model = Path(folder), Path(folder, "model")
        shutil.copytree(ROOT / "model", model)
        subprocess.run(
            [sys.executable, "-m", "api.compile", str(model), "--write"],
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            check=True,
        )
        try:
            measure(model, work)
        finally:
            stop()
    (ROOT / "docs/benchmarks/api.md").write_text(table())
    (ROOT / "docs/benchmarks/api.svg").write_text(plot())
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
