"""Roll-outs and rollbacks under load; what must not go live; runs that are cut off; drift."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import direct
from faults import models, stack
from faults.conftest import FULL, Held
from faults.load import Client, Load
from security.gateway import Gateway

pytestmark = pytest.mark.fault

DEPLOYS = 10 if FULL else 1
TAGS = ("--tags", "docker,api")


def version_of(replica: str) -> str:
    """Return the model's version as the replica itself tells it."""
    with direct.open_url(f"http://{stack.ADDRESS[replica]}:8000/metrics", timeout=10) as r:
        text = r.read().decode()
    (version,) = re.findall(r'api_model_info{.*version="(\w+)"', text)
    return str(version)


def right_version(gateway: Gateway, version: str) -> bool:
    """Ask every replica, and 200 times through the gateway."""
    if {version_of(replica) for replica in stack.REPLICAS} != {version}:
        return False
    clients = [Client(gateway, "http/1.1", (b"X-Experiment-Group", b"debug")) for _ in range(40)]
    answers = [client.ask() for _ in range(5) for client in clients]
    for client in clients:
        client.close()
    found = {json.loads(answer.body).get("model_version") for answer in answers if answer}
    return len(answers) == 200 and found == {version}


def live_release() -> str:
    lines = stack.run(stack.NAME, "releases").splitlines()
    return lines[1].split()[0]


def test_deploys_and_rollbacks_lose_nothing(
    gateway: Gateway, load: Load, held: Held, tmp_path: Path
) -> None:
    first, release = version_of("v1-1"), live_release()
    wrong = []
    with load() as result:
        for n in range(1, DEPLOYS + 1):
            version = models.another(tmp_path / f"model-{n}", n)
            stack.deploy(*TAGS, api_model_dir=str(tmp_path / f"model-{n}"))
            if not right_version(gateway, version):
                wrong.append(f"deploy {n}")
            code, output = stack.play("rollback")
            assert code == 0, output[-3000:]
            if not right_version(gateway, first) or live_release() != release:
                wrong.append(f"rollback {n}")
    held(
        "F9",
        f"{DEPLOYS} deploys, a rollback after each",
        result,
        f"{2 * DEPLOYS - len(wrong)} of {2 * DEPLOYS} times the right version",
        right_versions=not wrong,
        enough=result.asked >= (20_000 if FULL else 200),
    )


# ---- what must not go live ----------------------------------------------------------------------

BAD_VARIABLES: dict[str, dict[str, Any]] = {
    "a name that nothing reads": {"nginx_rate_limt": "5r/s"},
    "a rate that is none": {"nginx_rate_limit": "fast"},
    "a size that Nginx does not read": {"nginx_body_size": "99999999999999999999m"},
    "a time that is none": {"nginx_read_timeout": "soon"},
    "a password that all try first": {"nginx_users": [{"name": "admin", "password": "admin"}]},
    "no user": {"nginx_users": []},
    "no version": {"api_services": []},
    "a version without an entry point": {"api_services": [{"name": "v9", "replicas": 1}]},
    "no replica": {"api_services": [{"name": "v1", "replicas": 0}]},
    "memory that no replica starts in": {"api_memory": "24M", "api_healthy_timeout": 15},
    "memory that the gateway does not start in": {"nginx_memory": "6M"},
    "one port for both": {"stack_http_port": 28443},
}
# What `make test-all` has the time for; the lifecycle has others.
QUICK_MODELS = ("two classes swapped",)
QUICK_VARIABLES = ("a size that Nginx does not read",)


def refused(load: Load, *arguments: str, **variables: Any) -> dict[str, bool]:
    """Make a run that must not go live, and say what holds of it."""
    stack.await_healthy()
    files, identities = stack.files(), stack.identities()
    with load() as result:
        code, _ = stack.play("site", *arguments, **variables)
    kept = {path: digest for path, digest in stack.files().items() if path in files}
    return {
        "refused": code != 0,
        "files_as_before": kept == files,
        "containers_as_before": stack.identities() == identities,
        "nothing_failed": not result.failures and not result.raced,
    }


def report(held: Held, what: str, found: dict[str, dict[str, bool]]) -> None:
    wrong = {
        name: [promise for promise, kept in promises.items() if not kept]
        for name, promises in found.items()
        if not all(promises.values())
    }
    held("F10", what, None, f"{len(found)} tried; wrong: {wrong or 'none'}", none_live=not wrong)


def test_bad_models_never_go_live(load: Load, held: Held, tmp_path: Path) -> None:
    found = {}
    for n, name in enumerate(models.BAD if FULL else QUICK_MODELS):
        folder = tmp_path / str(n)
        models.BAD[name](folder)
        found[name] = refused(load, *TAGS, api_model_dir=str(folder))
    report(held, "models that must not go live", found)


def test_bad_configurations_never_go_live(load: Load, held: Held) -> None:
    found = {
        name: refused(load, **BAD_VARIABLES[name])
        for name in (BAD_VARIABLES if FULL else QUICK_VARIABLES)
    }
    if FULL:
        stack.deploy()
    report(held, "configurations that must not go live", found)


@pytest.mark.long
def test_only_one_change_at_a_time(load: Load, held: Held) -> None:
    first = stack.start_play("site")
    stack.until(lambda: Path("/run/faults.lock").read_text(), 60, "the first run has the lock")
    code, output = stack.play("site")
    said, _ = first.communicate(timeout=600)
    held(
        "",
        "a second run while one is under way",
        None,
        "",
        refused=code != 0 and "has been under way for" in output,
        first_passed=first.returncode == 0 and "failed=0" in said,
    )


# ---- a run that is cut off ----------------------------------------------------------------------

# Two states whose difference touches every role.
STATES: tuple[dict[str, Any], ...] = (
    {},
    {"nginx_rate_limit": "12r/s", "nginx_memory": "160M", "api_memory": "288M"}
    | {"monitoring_prometheus_retention": "10d", "stack_hostnames": ["localhost", "faults.test"]},
)


def state() -> tuple[Any, ...]:
    """Return what a run is there to bring about."""
    volatile = re.compile(r"tls/|certificate|nginx/[0-9a-f]{12}/")
    found = {path: digest for path, digest in stack.files().items() if not volatile.match(path)}
    containers = [stack.inspect_name(name) for name in sorted(stack.identities())]
    return found, [(c["Name"], c["Config"]["Image"], c["HostConfig"]["Memory"]) for c in containers]


@pytest.mark.long
def test_a_run_that_is_killed_anywhere_converges_next_time(load: Load, held: Held) -> None:
    wanted = []
    for variables in reversed(STATES):
        stack.deploy(**variables)
        wanted.append(state())
    wanted.reverse()
    stack.deploy(**STATES[1])
    changes = stack.deploy(**STATES[0]).count("\nchanged: ")
    generator = random.Random(1)  # noqa: S311
    moments = [*range(1, changes + 1), *(-generator.uniform(1, 40) for _ in range(20))]
    wrong = []
    with load() as result:
        for n, moment in enumerate(moments):
            target = (n + 1) % 2
            cut_off(moment, STATES[target])
            stack.deploy(**STATES[target])
            if state() != wanted[target]:
                wrong.append(moment)
    stack.deploy()
    held(
        "F12",
        f"a run killed after each of {changes} changes and at 20 moments",
        None,
        # No promise: a run may end between two halves of a change.
        f"{len(moments) - len(wrong)} of {len(moments)} converged; meanwhile {result} "
        f"{dict(result.failures.most_common(3)) or ''}",
        converged=not wrong,
    )


def cut_off(moment: float, variables: dict[str, Any]) -> None:
    """Kill a run after so many changes, or after minus so many seconds."""
    process = stack.start_play("site", **variables)
    assert process.stdout
    if moment > 0:
        left = moment
        for line in process.stdout:
            left -= line.startswith("changed: ")
            if left <= 0:
                break
    else:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=-moment)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


# ---- drift --------------------------------------------------------------------------------------

ETC = Path("/etc") / stack.NAME


def current() -> Path:
    return ETC / "nginx/current"


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "# by hand\n")


def replace_by(name: str, *options: str) -> None:
    image = stack.inspect(name)["Config"]["Image"]
    full = stack.container(name)
    stack.run("docker", "rm", "--force", full)
    stack.run("docker", "run", "--detach", "--name", full, *options, image, "sleep", "1000")


def remove(name: str) -> None:
    stack.run("docker", "rm", "--force", stack.container(name))


def stop(name: str) -> None:
    stack.run("docker", "stop", stack.container(name))


# Drift -> the containers that its repair may touch.
DRIFTS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "a file of the gateway edited": (lambda: edit(current() / "limits.conf"), ()),
    "a file of the gateway deleted": (lambda: (current() / "tls.conf").unlink(), ()),
    "a foreign file among the gateway's": (lambda: (current() / "extra.conf").write_text("x"), ()),
    "a file's mode changed": (lambda: (current() / "proxy.conf").chmod(0o666), ()),
    "the gateway's files gone": (lambda: shutil.rmtree(current().resolve()), ()),
    "the password file edited": (lambda: edit(ETC / "nginx/htpasswd"), ()),
    "the password file deleted": (lambda: (ETC / "nginx/htpasswd").unlink(), ()),
    "secrets that all may read": (lambda: (ETC / "secrets").chmod(0o755), ()),
    "Prometheus' configuration edited": (
        lambda: edit(ETC / "prometheus/prometheus.yml"),
        ("prometheus",),
    ),
    "the stack's command edited": (lambda: edit(Path("/usr/local/bin/faults")), ()),
    "the certificate deleted": (lambda: (ETC / "tls/server.crt").unlink(), ()),
    "the README edited": (lambda: edit(ETC / "README"), ()),
    "the rule of the firewall gone": (
        lambda: stack.run("nft", "delete", "table", "inet", stack.NAME),
        (),
    ),
    "a replica stopped": (lambda: stop("v1-2"), ("v1-2",)),
    "a replica deleted": (lambda: remove("v1-3"), ("v1-3",)),
    "a replica with another command": (
        lambda: replace_by(
            "v2-1", "--network", stack.NAME, "--ip", stack.ADDRESS["v2-1"], "--no-healthcheck"
        ),
        ("v2-1",),
    ),
    "a replica too many": (
        lambda: stack.run(
            *("docker", "run", "--detach", "--name", "faults-api-v1-9", "--network", stack.NAME),
            *("--label", f"stack={stack.NAME}", "--label", "stack.component=api"),
            *(stack.inspect("v1-1")["Config"]["Image"], "sleep", "1000"),
        ),
        ("v1-9",),
    ),
    "the exporter stopped": (lambda: stop("nginx-exporter"), ("nginx-exporter",)),
    "Prometheus deleted": (lambda: remove("prometheus"), ("prometheus",)),
    "the gateway stopped": (lambda: stop("nginx"), ("nginx",)),
}


@pytest.mark.long
def test_one_run_repairs_any_drift_and_touches_nothing_else(load: Load, held: Held) -> None:
    stack.deploy()
    wanted, wrong = state(), []
    for name, (drift, touched) in DRIFTS.items():
        before = stack.identities()
        drift()
        stack.deploy()
        kept = before.keys() - {stack.container(c) for c in touched}
        after = stack.identities()
        if state() != wanted or any(after.get(c) != before[c] for c in kept):
            wrong.append(name)
    held(
        "F13",
        f"{len(DRIFTS)} kinds of drift",
        None,
        f"{len(DRIFTS) - len(wrong)} repaired by one run; wrong: {wrong or 'none'}",
        repaired=not wrong,
    )
