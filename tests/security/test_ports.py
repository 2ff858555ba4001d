"""From another machine only the gateway's two ports answer, on every address that leads here."""

import json
import select
import shutil
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

import pytest

from security.conftest import STACK
from security.gateway import Gateway, output
from security.neighbour import Neighbour

# What the stack's containers listen on, and what machines often do.
USUAL = (*range(1, 1025), 2375, 2376, 3000, 8000, 8080, 8081, 8443, 9090, 9100, 9323)
ON_EACH = (22, 53, 80, 443, 3000, 8000, 8081, 9090, 9100)
# A port that is dropped never answers: so long is waited for the last of a round.
SILENCE_S = 1.0
ROUND = 2000

Place = tuple[str, int]


def answering(places: list[Place]) -> set[Place]:
    """Return those of the places that accept a connection."""
    rounds = (places[n : n + ROUND] for n in range(0, len(places), ROUND))
    return {place for part in rounds for place in _accepting(part)}


def _accepting(places: list[Place]) -> Iterator[Place]:
    poll = select.poll()
    waiting: dict[int, tuple[socket.socket, Place]] = {}
    try:
        for place in places:
            made = socket.socket()
            made.setblocking(False)
            waiting[made.fileno()] = (made, place)
            made.connect_ex(place)
            poll.register(made, select.POLLOUT)
        while waiting and (events := poll.poll(SILENCE_S * 1000)):
            for number, _ in events:
                poll.unregister(number)
                made, place = waiting.pop(number)
                with made:
                    if made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                        yield place
    finally:
        for made, _ in waiting.values():
            made.close()


def others() -> set[int]:
    """Return the ports that somebody else on this machine listens on, or publishes."""
    ours = {
        int(binding["HostPort"])
        for record in containers()
        for bindings in (record["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or ()
    }
    listening = output("ss", "-Hltn").splitlines()
    return {int(line.split()[3].rpartition(":")[2]) for line in listening} - ours


def containers() -> list[dict[str, Any]]:
    names = output("docker", "ps", "--quiet", "--filter", f"label=stack={STACK}").split()
    found: list[dict[str, Any]] = json.loads(output("docker", "inspect", *names))
    return found


def addresses() -> list[str]:
    """Return the machine's own IPv4 addresses, apart from loopback."""
    links = json.loads(output("ip", "-json", "-4", "address"))
    return [i["local"] for link in links for i in link["addr_info"] if i["scope"] == "global"]


def test_the_machine_answers_on_the_gateways_ports_only(
    gateway: Gateway, beside: Neighbour
) -> None:
    public = {gateway.port, gateway.http_port}
    # All of them on one address, which stands for the others.
    every = [(beside.gateway, port) for port in range(1, 65536)]
    usual = [(address, port) for address in addresses() for port in {*USUAL, *public}]
    with beside.inside():
        found = answering(every), answering(usual)
    for places in found:
        assert {port for _, port in places} - others() == public


def test_nothing_in_the_stacks_network_answers_but_the_gateways_ports(
    gateway: Gateway, beside: Neighbour, network: dict[str, Any]
) -> None:
    if shutil.which("nft") is None:
        pytest.skip("no nft on this machine, so no drop rule")
    subnet = IPv4Network(network["IPAM"]["Config"][0]["Subnet"])
    inside = {item["IPv4Address"].partition("/")[0] for item in network["Containers"].values()}
    # They are there, for this machine itself: else silence would prove nothing.
    here = answering([(address, port) for address in inside for port in ON_EACH])
    assert len({port for _, port in here}) >= 5
    assert {address for address, _ in here} == inside
    with beside.inside():
        found = answering([(str(a), port) for a in subnet.hosts() for port in ON_EACH])
    assert not {address for address, _ in found} & inside
    assert {port for _, port in found} - others() <= {gateway.port, gateway.http_port}
