"""What the host tests share. pytest-testinfra looks at this machine, or at INVENTORY's by ssh."""

import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from host.stack import STACK, Secret
from target import is_this_machine, machines, ssh_config


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Hand the machines of another inventory to testinfra, before it looks for them."""
    option = metafunc.config.option
    if option.hosts or is_this_machine():
        return
    option.hosts = ",".join(machines())
    # Not in TMPDIR: the path of a socket in it may be longer than the kernel takes.
    folder = Path(tempfile.mkdtemp(prefix="tests.", dir="/tmp"))
    metafunc.config.add_cleanup(lambda: shutil.rmtree(folder))
    option.ssh_config = str(ssh_config(folder))


@pytest.fixture(scope="module", autouse=True)
def root(host: Host) -> Iterator[None]:
    """Run every command as root: what is looked at is closed to everybody else."""
    if host.run("id -u").stdout.strip() == "0":
        yield
        return
    if host.run("sudo -n true").rc != 0:
        pytest.skip("needs root, or sudo without a password")
    with host.sudo():
        yield


@pytest.fixture(scope="module")
def inspected(host: Host, root: None) -> dict[str, dict[str, Any]]:
    """The engine's record of each container of the stack, by name without the stack's."""
    ids = host.check_output("docker ps --all --quiet --filter label=stack=%s", STACK).split()
    assert ids, f"no container has the label stack={STACK}: `make start-project`"
    items = json.loads(host.check_output(f"docker inspect {' '.join(ids)}"))
    return {item["Name"].removeprefix(f"/{STACK}-"): item for item in items}


@pytest.fixture(scope="module")
def environment(host: Host, root: None) -> dict[str, str]:
    """What `make env` prints."""
    words = shlex.split(host.check_output("%s env", STACK))
    found = dict(word.split("=", 1) for word in words)
    return {n: Secret(v) if n.endswith("PASSWORD") else v for n, v in found.items()}


@pytest.fixture(scope="module")
def secrets(host: Host, root: None) -> dict[str, Secret]:
    """Contents of the files that hold a secret, by name."""
    folder = f"/etc/{STACK}/secrets"
    names = host.check_output("ls %s", folder).split()
    chosen = [n for n in names if re.fullmatch(r"user-.+|salt|grafana-.+", n)]
    assert chosen, f"no secret in {folder}"
    return {n: Secret(host.file(f"{folder}/{n}").content_string.strip()) for n in chosen}
