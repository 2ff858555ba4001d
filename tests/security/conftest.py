"""What the security tests share: the running stack, asked from a network namespace of their own."""

import json
import os
import resource
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from security.gateway import Gateway, Replicas
from security.neighbour import CannotMake, Neighbour, neighbour
from security.wire import Hidden

STACK = os.environ.get("STACK_NAME", "emotions")
LOCAL = "inventory/localhost.yml"


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def network() -> dict[str, Any]:
    """The engine's record of the stack's network."""
    if os.environ.get("INVENTORY", LOCAL) != LOCAL:
        pytest.skip("the stack runs on another machine: run make test-security there")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    found: dict[str, Any] = json.loads(output("docker", "network", "inspect", STACK))[0]
    return found


@pytest.fixture(scope="session")
def beside(network: dict[str, Any]) -> Iterator[Neighbour]:
    """A machine of its own that routes everything through this one."""
    # Thousands of sockets at once; a shell usually allows 1,024.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        with neighbour() as made:
            yield made
    except CannotMake as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def replicas(network: dict[str, Any]) -> Replicas:
    addresses = [
        item["IPv4Address"].partition("/")[0]
        for item in network["Containers"].values()
        if item["Name"].startswith(f"{STACK}-api-")
    ]
    assert addresses, f"no replica runs in the network {STACK}: make start-project"
    return Replicas(tuple(f"http://{address}:8000" for address in addresses))


@pytest.fixture(scope="session")
def gateway(beside: Neighbour) -> Gateway:
    record = json.loads(output("docker", "inspect", f"{STACK}-nginx-1"))[0]
    published = {
        inside: binding[0] for inside, binding in record["NetworkSettings"]["Ports"].items()
    }
    if published["443/tcp"]["HostIp"] != "0.0.0.0":
        pytest.skip(f"the gateway is published on {published['443/tcp']['HostIp']} only")
    environment = dict(word.split("=", 1) for word in shlex.split(output(STACK, "env")))
    host = urlsplit(environment["GATEWAY_URL"]).hostname
    if host != "localhost":
        pytest.skip(f"the raw requests name the host localhost, and this gateway is {host}")
    both = Hidden(f"{environment['API_USER']}:{environment['API_PASSWORD']}".encode())
    return Gateway(
        neighbour=beside,
        host=host,
        port=int(published["443/tcp"]["HostPort"]),
        http_port=int(published["80/tcp"]["HostPort"]),
        ca=environment["GATEWAY_CA"],
        right=both,
    )
