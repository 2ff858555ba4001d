"""What the security tests share: the running stack, asked from a network namespace of their own."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from security.gateway import CannotAsk, Gateway, Replicas, output, running
from security.neighbour import CannotMake, Neighbour, neighbour
from target import is_this_machine, settings

STACK = settings()["STACK_NAME"]


@pytest.fixture(scope="session")
def network() -> dict[str, Any]:
    """The engine's record of the stack's network."""
    if not is_this_machine():
        pytest.skip("the stack runs on another machine: run make test-security there")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    found: dict[str, Any] = json.loads(output("docker", "network", "inspect", STACK))[0]
    return found


@pytest.fixture(scope="session")
def beside(network: dict[str, Any]) -> Iterator[Neighbour]:
    """A machine of its own that routes everything through this one."""
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
    try:
        return running(STACK, beside)
    except CannotAsk as error:
        pytest.skip(str(error))
