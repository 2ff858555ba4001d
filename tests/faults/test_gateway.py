"""The gateway under reloads, and with everything gone that it does not need."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import direct
from faults import stack
from faults.conftest import Held
from faults.load import Load

pytestmark = [pytest.mark.fault, pytest.mark.long]

RELOADS, RELOADS_S = 50, 60
GATEWAY = f"{stack.NAME}-nginx-1"
ROTATION = ("logrotate", "--force", f"/etc/logrotate.d/{stack.NAME}")
RELOAD = ("nginx", "-c", "/etc/gateway/current/nginx.conf", "-s", "reload")


def test_reloads_lose_no_accepted_request(load: Load, held: Held) -> None:
    with load(clients=40, http2=20) as result:
        for _ in range(RELOADS):
            started = time.monotonic()
            stack.run("docker", "exec", GATEWAY, *RELOAD)
            # The pace of the reloads is what the test is about.
            time.sleep(max(0, RELOADS_S / RELOADS - (time.monotonic() - started)))
    share = result.raced / result.asked
    held(
        "F8",
        f"{RELOADS} reloads in {RELOADS_S} s",
        None,
        f"{result}; {100 * share:.2f} % raced",
        nothing_failed=not result.failures,
        few_raced=share <= 0.003,
        enough=result.asked >= 6000,
    )


def counted() -> int:
    """Return how many requests the exporter of the access log has seen."""
    url = f"http://{stack.SUBNET}.8:9100/metrics"
    with direct.open_url(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith("gateway_requests_total{")]
    return sum(int(line.rpartition(" ")[2]) for line in found)


def test_every_request_is_counted_over_rotations_and_reloads(load: Load, held: Held) -> None:
    # Nothing tells that the last lines of before are read: the gateway writes each second, the
    # exporter reads four times a second.
    time.sleep(3)
    before = counted()
    with load() as result:
        for event in 3 * (ROTATION, ("docker", "exec", GATEWAY, *RELOAD)):
            # Requests between two events: how many lines each file gets is what the test is about.
            time.sleep(2)
            stack.run(*event)
    # The log is written each second.
    with suppress(AssertionError):
        stack.until(lambda: counted() - before >= result.asked, 10, "all are counted")
    seen = counted() - before
    held(
        "F19",
        "three rotations of the log and three reloads",
        None,
        f"{result}; counted {seen}",
        # One that raced was never read.
        all_counted=result.asked - result.raced <= seen <= result.asked,
        nothing_failed=not result.failures,
    )


def project(folder: Path) -> Path:
    """Copy what a run needs, to change it."""
    copy = folder / "project"
    ignore = shutil.ignore_patterns(".git", ".venv", ".cache", "dist", "tests")
    shutil.copytree(stack.ROOT, copy, ignore=ignore)
    return copy


def test_a_reload_that_nginx_refuses_is_noticed_and_taken_back(
    load: Load, held: Held, tmp_path: Path
) -> None:
    """The key of a shared zone: the test of the configuration passes, the reload does not."""
    copy = project(tmp_path)
    limits = copy / "roles/nginx/templates/nginx/limits.conf.j2"
    key = "limit_req_zone $binary_remote_addr zone=per_client:"
    text, changed = re.subn(re.escape(key), key.replace("binary_", ""), limits.read_text())
    assert changed == 1
    limits.write_text(text)
    files, identities = stack.files(), stack.identities()
    with load() as result:
        code, output = stack.play("site", root=copy)
    after = {path: digest for path, digest in stack.files().items() if path in files}
    held(
        "F11",
        "a configuration that passes the test, and whose reload is refused",
        result,
        "",
        run_failed=code != 0,
        says_so="did not take configuration" in re.sub(r"\s+", " ", output),
        files_as_before=after == files,
        containers_as_before=stack.identities() == identities,
    )
    stack.deploy()


@contextmanager
def killed(*names: str) -> Iterator[None]:
    """Stop containers the hard way, and start them again."""
    for name in names:
        stack.run("docker", "kill", stack.container(name))
    try:
        yield
    finally:
        for name in names:
            stack.run("docker", "start", stack.container(name))


def test_the_monitoring_may_die(load: Load, held: Held) -> None:
    with killed("prometheus", "nginx-exporter"):
        result = load.during(10)
    held("F15", "Prometheus and the exporter dead", result)


def test_the_disk_of_the_log_may_be_full(load: Load, held: Held) -> None:
    filler = stack.LOGS / "filler"
    try:
        command = ["dd", "if=/dev/zero", f"of={filler}", "bs=64k"]
        # It ends with "no space left", as it should.
        subprocess.run(command, capture_output=True, check=False)
        full = shutil.disk_usage(stack.LOGS).free == 0
        result = load.during(10)
    finally:
        filler.unlink(missing_ok=True)
    log = stack.LOGS / "access.log"
    before = log.stat().st_size
    again = load.during(3)
    held(
        "F15",
        "the log's disk full",
        result,
        "",
        full=full,
        logged_again=log.stat().st_size > before and not again.failures,
    )


def test_name_resolution_may_be_dead(load: Load, held: Held) -> None:
    table = f"{stack.NAME}-dns"
    rules = "\n".join(
        f"add rule inet {table} {chain} {protocol} dport 53 drop"
        for chain in ("out", "through")
        for protocol in ("udp", "tcp")
    )
    chains = "\n".join(
        f"add chain inet {table} {chain} {{ type filter hook {hook} priority -50; }}"
        for chain, hook in (("out", "output"), ("through", "forward"))
    )
    text = f"add table inet {table}\n{chains}\n{rules}\n"
    subprocess.run(["nft", "--file", "-"], input=text, text=True, check=True)
    try:
        stack.kill("v1-1")
        result = load.during(10)
    finally:
        stack.run("nft", "delete", "table", "inet", table)
    held("F15", "no name resolution, and a replica killed meanwhile", result)
