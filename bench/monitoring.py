"""Measures what the monitoring costs: `make -C bench monitoring`.

What reading the access log takes from the gateway: its container in front of replicas under full
load, with the log's exporter and without, by turns; the exporter runs as in the stack, so the
engine shares the processors out between the two as there. And what each container of the running
stack needs while clients ask little, from its own figures. Writes docs/benchmarks/monitoring.md.
"""

import datetime
import json
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import direct
from bench import gateway
from bench.api import ROOT, ROUNDS, SECONDS
from bench.gateway import HOSTED, STACK, Bench, output
from security.neighbour import neighbour

DOCUMENT = ROOT / "docs" / "benchmarks" / "monitoring.md"
CONNECTIONS = 32
EXPORTER = "bench-log-exporter"


def read_log(folder: Path) -> None:
    """Start the exporter on a log as the running one was started: image, command and limits."""
    record = json.loads(output("docker", "inspect", f"{STACK}-log-exporter-1"))[0]
    host = record["HostConfig"]
    gateway.containers.append(EXPORTER)
    output(
        *("docker", "run", "--detach", f"--name={EXPORTER}", "--network=none", "--read-only"),
        *(f"--cpu-shares={host['CpuShares']}", f"--cpus={host['NanoCpus'] / 1e9}"),
        *(f"--memory={host['Memory']}", f"--user={record['Config']['User']}"),
        *("--no-healthcheck", f"--volume={folder}:/var/log/gateway:ro"),
        *(record["Config"]["Image"], *record["Config"]["Cmd"]),
    )
    # It is not its start that is measured.
    pid = int(output("docker", "inspect", "--format", "{{.State.Pid}}", EXPORTER))
    gateway.wait(answers, pid, EXPORTER, [])


def answers() -> bool:
    try:
        return lines_counted() == 0
    except RuntimeError as error:
        raise OSError(str(error)) from error


def lines_counted() -> int:
    """Return how many requests the exporter has counted."""
    read = (
        "exec 3<>/dev/tcp/127.0.0.1/9100; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    )
    text = output("docker", "exec", EXPORTER, "bash", "-c", read)
    counts = [line for line in text.splitlines() if line.startswith("gateway_requests_total{")]
    return sum(int(line.rsplit(" ", 1)[1]) for line in counts)


def measure(bench: Bench) -> list[str]:
    """Return the table of the rounds."""
    gateway.prepare(HOSTED, bench)
    rates: dict[str, list[float]] = {"without": [], "with": []}
    behind = []
    for number in range(ROUNDS):
        # Each comes first every other time.
        for name in sorted(rates, reverse=number % 2 == 1):
            if name == "with":
                read_log(gateway.log_of(HOSTED, bench).parent)
            load = gateway.load_wrk(HOSTED, bench, CONNECTIONS, close=False)
            if load.error:
                raise RuntimeError(load.error)
            rates[name].append(load.requests / load.seconds)
            print(f"round {number + 1}, {name}: {rates[name][-1]:.0f}/s", flush=True)
            if name == "with":
                behind.append(100 * lines_counted() / load.requests)
                output("docker", "rm", "--force", EXPORTER)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    pairs = [w / o for w, o in zip(rates["with"], rates["without"], strict=True)]
    return [
        f"| without the log's exporter | {medians['without']:.0f} |",
        f"| with it | {medians['with']:.0f} |",
        f"| ratio, median of {ROUNDS} rounds | {statistics.median(pairs):.3f} |",
        f"| of the lines read at the end of the load | {statistics.median(behind):.0f} % |",
    ]


def ask_prometheus(query: str) -> dict[str, float]:
    """Return container -> value of an instant query to the running stack's Prometheus."""
    lines = output("bash", "-c", f"{STACK} env").splitlines()
    address = dict(line.split("=", 1) for line in lines if "=" in line)["PROMETHEUS_URL"]
    words = urllib.parse.urlencode({"query": query})
    with direct.open_url(f"{address}/api/v1/query?{words}", timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    return {series["metric"]["container"]: float(series["value"][1]) for series in found}


def costs() -> list[str]:
    """Return the table of what each container takes."""
    processor = ask_prometheus("rate(stack_container_cpu_seconds_total[5m])")
    memory = ask_prometheus("max_over_time(stack_container_memory_bytes[5m])")
    return [
        f"| {name.removeprefix(f'{STACK}-')} | {memory[name] / 2**20:.0f} "
        f"| {100 * processor.get(name, 0):.2f} |"
        for name in sorted(memory)
    ]


def main() -> int:
    """Measure and write the document."""
    if os.geteuid() != 0:
        print("Clients come from a network namespace of their own: run it as root", file=sys.stderr)
        return 2
    if lacking := [name for name in ("wrk", "h2load") if not shutil.which(name)]:
        print(f"Missing: {lacking}. Debian: apt-get install wrk nghttp2-client", file=sys.stderr)
        return 2
    try:
        image = output("docker", "inspect", "--format", "{{.Config.Image}}", f"{STACK}-nginx-1")
        quiet = costs()
    except (RuntimeError, OSError, KeyError) as error:
        print(f"{error}. It looks at the running stack: make start-project", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.chmod(0o755)
        (work / "tls").mkdir()
        (work / "body.json").write_text(gateway.BODY)
        (work / "body.lua").write_text(f"wrk.method = 'POST'\nwrk.body = [[{gateway.BODY}]]\n")
        beside = stack.enter_context(neighbour())
        gateway.make_certificate(work, ["127.0.0.1", beside.gateway])
        (work / "tls/server.key").chmod(0o644)
        stack.callback(gateway.stop)
        try:
            ports, pids = gateway.start_replicas(work)
            rows = measure(Bench(work, image, secrets.token_hex(16), ports, pids, beside))
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"Stopped, nothing written: {error}", file=sys.stderr)
            return 1
    text = "\n".join(
        [
            "# What the monitoring costs",
            "",
            f"Written by `make -C bench monitoring`, {datetime.date.today()}, on {os.cpu_count()} "
            f"processors, {platform.system()} {platform.release().split('-')[0]}: "
            f"{ROUNDS} rounds of {SECONDS} s, by turns, wrk with {CONNECTIONS} connections.",
            "",
            "| the gateway under full load, its access log | requests a second |",
            "|---|---|",
            *rows,
            "",
            "Each container of the running stack in the five minutes before, by its own figures:",
            "",
            "| container | most memory, MB | processor, % of one |",
            "|---|---|---|",
            *quiet,
            "",
        ]
    )
    DOCUMENT.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
