"""A second stack of its own beside whatever runs here, and the means to break it."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME, SUBNET = "faults", "172.28.88"
LOGS = Path("/var/tmp/faults-log")
V1 = ("v1-1", "v1-2", "v1-3")
REPLICAS = (*V1, "v2-1")
ADDRESS = {f"v1-{n}": f"{SUBNET}.{20 + n}" for n in (1, 2, 3)} | {"v2-1": f"{SUBNET}.41"}
VARIABLES = {
    "stack_name": NAME,
    "stack_subnet": f"{SUBNET}.0/24",
    "stack_https_port": 28443,
    "stack_http_port": 28080,
    "stack_prometheus_port": 29090,
    "stack_grafana_port": 23000,
    # The rules of a dedicated machine would close the ports of the one that runs there.
    "stack_dedicated": False,
    "stack_log_dir": str(LOGS),
    "monitoring_grafana": False,
}


def run(*command: str, timeout: float = 120) -> str:
    """Return the output of a command that has to pass."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout.strip()


def until(true: Callable[[], Any], seconds: float, what: str) -> float:
    """Wait for it; return how long that took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, f"not after {seconds} s: {what}"
        # Between two questions, which may each start a process.
        time.sleep(0.02)
    return time.monotonic() - started


def container(replica: str) -> str:
    return f"{NAME}-api-{replica}" if replica.startswith("v") else f"{NAME}-{replica}-1"


def inspect(replica: str) -> dict[str, Any]:
    return inspect_name(container(replica))


def inspect_name(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("docker", "inspect", name))[0]
    return found


def send(number: int, *replicas: str) -> None:
    """Send a signal to the processes, past the engine, which would take it for a wish."""
    pids = [inspect(replica)["State"]["Pid"] for replica in replicas]
    for pid in pids:
        if pid:
            os.kill(pid, number)


def kill(*replicas: str) -> None:
    send(signal.SIGKILL, *replicas)


def await_healthy(*replicas: str) -> None:
    run(NAME, "await", "60", *map(container, replicas or REPLICAS))


def identities() -> dict[str, tuple[str, str]]:
    """Return id and start of every container of the stack."""
    ids = run("docker", "ps", "--all", "--quiet", "--filter", f"label=stack={NAME}").split()
    found = json.loads(run("docker", "inspect", *ids))
    return {item["Name"][1:]: (item["Id"], item["State"]["StartedAt"]) for item in found}


def files() -> dict[str, str]:
    """Return a digest of each file of the stack, history and releases left out."""
    folder = Path("/etc") / NAME
    kept = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_symlink():
            kept[str(inside)] = str(path.readlink())
        elif path.is_file() and inside.parts[0] not in ("history.jsonl", "releases"):
            kept[str(inside)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return kept


def start_play(
    playbook: str, *arguments: str, root: Path = ROOT, **variables: Any
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            ROOT / ".venv/bin/python",
            root / "tools/run_ansible.py",
            "playbook",
            f"playbooks/{playbook}.yml",
            *("-e", json.dumps(VARIABLES | variables)),
            *arguments,
        ],
        cwd=root,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1", "INVENTORY": "", "ARGS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def play(
    playbook: str, *arguments: str, root: Path = ROOT, timeout: float = 900, **variables: Any
) -> tuple[int, str]:
    """Run a playbook on this stack; return its exit code and output."""
    process = start_play(playbook, *arguments, root=root, **variables)
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, output


def deploy(*arguments: str, **variables: Any) -> str:
    """Run site.yml, which has to pass."""
    code, output = play("site", *arguments, **variables)
    assert code == 0, output[-3000:]
    return output


@contextmanager
def up() -> Iterator[None]:
    """Bring it up, with a disk of its own for the log, and take it down whatever happens."""
    _down()
    LOGS.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=1g", "faults-log", str(LOGS))
    # On the base of the stack that runs here, if one does, every image comes from its builds.
    subprocess.run(("docker", "tag", "emotions-base:trixie", f"{NAME}-base:trixie"), check=False)
    try:
        deploy()
        yield
    finally:
        _down()


def _down() -> None:
    if Path("/etc", NAME).exists() or run("docker", "ps", "-aq", "--filter", f"label=stack={NAME}"):
        play("teardown")
    while os.path.ismount(LOGS):
        run("umount", str(LOGS))
    if LOGS.exists():
        LOGS.rmdir()


def listens(address: str) -> bool:
    try:
        socket.create_connection((address, 8000), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def misbehaving(replica: str, how: str) -> Iterator[None]:
    """Put a program in a replica's place that answers in another way (fake_replica.py)."""
    image = inspect(replica)["Config"]["Image"]
    name = f"{NAME}-fake-{replica}"
    program = Path(__file__).with_name("fake_replica.py")
    run("docker", "stop", container(replica))
    try:
        run(
            *("docker", "run", "--detach", "--name", name, "--label", f"stack={NAME}"),
            *("--label", "stack.component=api", "--restart", "unless-stopped", "--no-healthcheck"),
            *("--network", NAME, "--ip", ADDRESS[replica], "--read-only", "--user", "10001:10001"),
            *("--volume", f"{program}:/fake.py:ro", image, "/venv/bin/python", "/fake.py", how),
        )
        until(lambda: listens(ADDRESS[replica]), 20, f"{name} listens")
        yield
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True)
        run("docker", "start", container(replica))
        await_healthy(replica)


@contextmanager
def unplugged(replica: str) -> Iterator[None]:
    """Take a replica's link down: nothing comes back, not even a refusal."""
    pid = inspect(replica)["State"]["Pid"]
    index = Path(f"/proc/{pid}/root/sys/class/net/eth0/iflink").read_text().strip()
    (link,) = [
        path.parent.name
        for path in Path("/sys/class/net").glob("*/ifindex")
        if path.read_text().strip() == index
    ]
    run("ip", "link", "set", link, "down")
    try:
        yield
    finally:
        run("ip", "link", "set", link, "up")
