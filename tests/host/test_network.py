"""Who can reach what: listening sockets, the drop rule, and a neighbour that tries."""

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from testinfra.host import Host

from host.stack import ALERTMANAGER, CURL, EXPORTERS, GRAFANA, OURS, STACK, left_out
from target import settings

Inspected = dict[str, dict[str, Any]]
BIND_ADDRESS = settings()["STACK_BIND_ADDRESS"]
PRIVATE_PORTS = ("8000", "8081", "9100")
TIMED_OUT = 124
# The range kept for tests of networks (RFC 2544).
LINKS = [f"198.18.{number}" for number in range(1, 256)]


def listening(host: Host) -> set[tuple[str, str]]:
    """Return (address, port) of every TCP socket that listens on the machine."""
    lines = host.check_output("ss -Hltn").splitlines()
    found = set()
    for line in lines:
        address, _, port = line.split()[3].rpartition(":")
        found.add((address.partition("%")[0], port))
    return found


def host_port(inspected: Inspected, name: str, port: str) -> str:
    return str(inspected[name]["NetworkSettings"]["Ports"][port][0]["HostPort"])


def address(inspected: Inspected, name: str) -> str:
    return str(inspected[name]["NetworkSettings"]["Networks"][STACK]["IPAddress"])


@pytest.mark.parametrize("port", ["443/tcp", "80/tcp"])
def test_gateway_listens_on_the_configured_address_only(
    host: Host, inspected: Inspected, port: str
) -> None:
    wanted = host_port(inspected, "nginx-1", port)
    assert {a for a, p in listening(host) if p == wanted} == {BIND_ADDRESS}


@pytest.mark.parametrize(("name", "port"), [("prometheus-1", "9090/tcp"), (GRAFANA, "3000/tcp")])
def test_monitoring_listens_on_loopback_only(
    host: Host, inspected: Inspected, environment: dict[str, str], name: str, port: str
) -> None:
    if name not in inspected:
        pytest.skip(left_out(name, environment))
    wanted = host_port(inspected, name, port)
    assert {a for a, p in listening(host) if p == wanted} == {"127.0.0.1"}


def test_no_private_port_of_a_container_is_on_the_machine(inspected: Inspected) -> None:
    for name, item in inspected.items():
        for port, hosts in (item["NetworkSettings"]["Ports"] or {}).items():
            assert not hosts or port.partition("/")[0] not in PRIVATE_PORTS, (
                f"{name} publishes {port}"
            )


def test_network_has_no_ipv6_and_the_bridge_that_rules_name(host: Host) -> None:
    network = json.loads(host.check_output("docker network inspect %s", STACK))[0]
    assert network["EnableIPv6"] is False
    assert network["Options"]["com.docker.network.bridge.name"] == f"br-{STACK}"


@pytest.fixture
def ruleset(host: Host) -> str:
    """The stack's own table, as the kernel has it."""
    if host.run("command -v nft").rc != 0:
        pytest.skip("no nft on this machine")
    found = host.run("nft list table inet %s", STACK)
    assert found.rc == 0, f"the drop rule is not loaded: {found.stderr.strip()}"
    return str(found.stdout)


def test_drop_rule_is_loaded_before_the_engines_rules(host: Host, ruleset: str) -> None:
    subnet = host.check_output(
        "docker network inspect --format '{{(index .IPAM.Config 0).Subnet}}' %s", STACK
    )
    hook = [line for line in ruleset.splitlines() if "hook forward" in line]
    assert len(hook) == 1
    assert "priority filter - 10" in hook[0]
    drops = [line for line in ruleset.splitlines() if "routed from elsewhere" in line]
    assert len(drops) == 1
    assert f"ip daddr {subnet}" in drops[0]
    assert "dnat" in drops[0]
    assert " drop " in drops[0]


def test_drop_rule_file_is_valid(host: Host, ruleset: str) -> None:
    checked = host.run("nft --check --file %s", f"/etc/{STACK}/firewall.nft")
    assert checked.rc == 0, checked.stderr


@dataclass(frozen=True)
class Neighbour:
    """A machine of its own (a network namespace) that routes everything through this one."""

    namespace: str
    # This machine, as the neighbour sees it.
    router: str


def try_from(host: Host, neighbour: Neighbour, target: str, port: str) -> int:
    """Connect from the neighbour: 0 connected, 1 refused, TIMED_OUT dropped."""
    return int(
        host.run(
            "ip netns exec %s timeout 2 bash -c %s",
            neighbour.namespace,
            f"exec 3<>/dev/tcp/{target}/{port}",
        ).rc
    )


@pytest.fixture(scope="module")
def neighbour(host: Host, root: None) -> Iterator[Neighbour]:
    namespace = f"{STACK}-t{uuid.uuid4().hex[:6]}"
    # Named as the engine names its own, so that no run takes it for the machine's.
    ours, theirs = f"veth{uuid.uuid4().hex[:8]}", f"veth{uuid.uuid4().hex[:8]}"
    if host.run("command -v ip").rc != 0:
        pytest.skip("no ip command on this machine")
    # Another run, or one that was killed, may hold some of them.
    taken = host.check_output("ip -4 -o address show to 198.18.0.0/16")
    link = random.choice([link for link in LINKS if f" {link}." not in taken])
    if host.run("ip netns add %s", namespace).rc != 0:
        pytest.skip("network namespaces need root and CAP_SYS_ADMIN here")
    try:
        commands = [
            f"ip link add {ours} type veth peer name {theirs} netns {namespace}",
            f"ip address add {link}.1/30 dev {ours}",
            f"ip link set {ours} up",
            f"ip -n {namespace} address add {link}.2/30 dev {theirs}",
            f"ip -n {namespace} link set {theirs} up",
            f"ip -n {namespace} route add default via {link}.1",
        ]
        for command in commands:
            done = host.run(command)
            if done.rc != 0:
                pytest.skip(f"{command}: {done.stderr.strip()}")
        if host.file("/proc/sys/net/ipv4/ip_forward").content_string.strip() != "1":
            pytest.skip("this machine does not forward")
        yield Neighbour(namespace, router=f"{link}.1")
    finally:
        host.run("ip link delete %s", ours)
        host.run("ip netns delete %s", namespace)


def test_neighbour_reaches_the_gateways_published_ports(
    host: Host, inspected: Inspected, neighbour: Neighbour
) -> None:
    if BIND_ADDRESS != "0.0.0.0":
        pytest.skip(f"the gateway is published on {BIND_ADDRESS} only")
    for port in ("443/tcp", "80/tcp"):
        assert (
            try_from(host, neighbour, neighbour.router, host_port(inspected, "nginx-1", port)) == 0
        )
    answer = host.run(
        f"ip netns exec %s {CURL} --insecure -o /dev/null --write-out %s %s",
        neighbour.namespace,
        "%{http_code}",
        f"https://{neighbour.router}:{host_port(inspected, 'nginx-1', '443/tcp')}/",
    )
    # Not among the names that the gateway answers.
    assert answer.stdout == "421"


@pytest.mark.parametrize(
    ("name", "port"),
    [
        *((name, "8000") for name in OURS if name.startswith("api-")),
        ("prometheus-1", "9090"),
        ("nginx-1", "443"),
        ("nginx-1", "8081"),
        *((name, "9100") for name in EXPORTERS),
        (GRAFANA, "3000"),
        (ALERTMANAGER, "9090"),
    ],
)
def test_neighbour_that_routes_into_the_network_gets_no_answer(
    host: Host,
    inspected: Inspected,
    environment: dict[str, str],
    ruleset: str,
    neighbour: Neighbour,
    name: str,
    port: str,
) -> None:
    if name not in inspected:
        pytest.skip(left_out(name, environment))
    # It listens: else a time-out would prove nothing.
    here = host.run("timeout 2 bash -c %s", f"exec 3<>/dev/tcp/{address(inspected, name)}/{port}")
    assert here.rc == 0, "the machine itself cannot connect"
    assert try_from(host, neighbour, address(inspected, name), port) == TIMED_OUT


@pytest.mark.parametrize("port", ["9090", "3000", "8000", "8081", "9100"])
def test_neighbour_finds_no_other_port_on_the_machine(
    host: Host, neighbour: Neighbour, port: str
) -> None:
    if any(p == port and a not in ("127.0.0.1", "[::1]") for a, p in listening(host)):
        pytest.skip(f"something else listens on {port} here")
    assert try_from(host, neighbour, neighbour.router, port) != 0
