"""The preflight's decisions, on what the survey of a machine found."""

import copy
from typing import Any

import pytest

from plugins.filter.preflight import CANDIDATES, FilterModule, preflight_problems

WANTED: dict[str, Any] = {
    "stack": "app",
    "subnet": "172.28.10.0/24",
    "bridge": "br-app",
    "ports": {
        "stack_https_port": 443,
        "stack_http_port": 80,
        "stack_prometheus_port": 9090,
        "stack_grafana_port": 3000,
    },
    "distribution": "Debian",
    "distribution_version": "13.2",
    "architecture": "x86_64",
    "memory_mb": 4000,
    "min_memory_mb": 1800,
    "min_disk_mb": 4000,
    "min_engine": "20.10",
    "live_restore": True,
    "packages": "docker.io",
}
PLACE = {"free_mb": 50_000, "free_inodes": 900_000, "read_only": False}
# As the engine of Docker's documentation describes itself, but for what nothing reads.
ENGINE: dict[str, Any] = {
    "version": {
        "Platform": {"Name": "Docker Engine - Community"},
        "Components": [{"Name": "Engine", "Version": "28.2.2"}, {"Name": "containerd"}],
        "Version": "28.2.2",
    },
    "info": {
        "OperatingSystem": "Debian GNU/Linux 13 (trixie)",
        "DockerRootDir": "/var/lib/docker",
        "LiveRestoreEnabled": True,
        "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    },
    "networks": [
        {"name": "bridge", "subnets": ["172.17.0.0/16"], "bridge": "docker0", "stack": None}
    ],
    "published": [],
    "containers": [],
}
MACHINE: dict[str, Any] = {
    "listeners": [{"address": "0.0.0.0", "port": 22, "program": "sshd"}],
    "routes": [
        {"network": "default", "interface": "eth0", "type": "unicast", "table": "main"},
        {"network": "192.0.2.0/24", "interface": "eth0", "type": "unicast", "table": "main"},
        {"network": "172.17.0.0/16", "interface": "docker0", "type": "unicast", "table": "main"},
        {"network": "127.0.0.0/8", "interface": "lo", "type": "local", "table": "local"},
    ],
    "daemon": {"settings": {}},
    "installation": {
        "installed": True,
        "podman": False,
        "snap": False,
        "masked": False,
        "removals": [],
    },
    "engine": ENGINE,
    "data": "/var/lib/docker",
    "places": {path: PLACE for path in ("/etc/docker/daemon.json", "/var/lib/docker", "/var")},
}


def problems(*changes: tuple[str, Any], **wanted: Any) -> list[str]:
    """Return the problems of a machine in order but for changes: ('engine.info.OSType', value)."""
    machine = copy.deepcopy(MACHINE)
    for path, value in changes:
        *parents, last = path.split("|")
        part = machine
        for name in parents:
            part = part[name]
        part[last] = value
    return preflight_problems(machine, WANTED | wanted)


def one(*changes: tuple[str, Any], **wanted: Any) -> str:
    """Return the only problem, which is one line of whole sentences."""
    (problem,) = problems(*changes, **wanted)
    assert "\n" not in problem
    assert problem[0].isupper() or problem[0].isdigit() or problem.startswith("stack_")
    assert problem.endswith(".")
    return problem


def route(network: str, interface: str = "wg0", **other: str) -> tuple[str, Any]:
    found = {"network": network, "interface": interface, "type": "unicast", "table": "main"}
    return "routes", [*MACHINE["routes"], found | other]


def network(name: str, *subnets: str, **other: Any) -> tuple[str, Any]:
    found = {"name": name, "subnets": list(subnets), "bridge": "br-0123456789ab", "stack": None}
    return "engine|networks", [*ENGINE["networks"], found | other]


OWN = network("app", "172.28.10.0/24", bridge="br-app", stack="app")


def test_a_machine_in_order_is_taken() -> None:
    assert problems() == []
    assert problems(("engine", {}), ("installation|installed", False)) == []
    assert FilterModule().filters()["preflight_problems"] is preflight_problems


def test_all_problems_are_named_at_once() -> None:
    assert (
        len(
            problems(
                ("listeners", [{"address": "*", "port": 443, "program": "nginx"}]),
                route("172.28.10.0/24"),
                memory_mb=1000,
            )
        )
        == 3
    )


# ---- the machine --------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["n/a", "", "testing", "trixie/sid"])
@pytest.mark.parametrize("name", ["Debian", "Ubuntu"])
def test_a_distribution_without_a_release_number_is_refused_in_words(
    name: str, release: str
) -> None:
    said = one(distribution=name, distribution_version=release)
    assert f"This {name} has no release number (testing or unstable)" in said
    assert "Use Debian 12 or newer" in said


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("Debian", "11"),
        ("Debian", "11.9"),
        ("Ubuntu", "20.04"),
        ("Fedora", "42"),
        ("Linux Mint", "22"),
        ("Archlinux", "n/a"),
    ],
)
def test_another_distribution_is_refused(name: str, release: str) -> None:
    assert f"{name} {release} on x86_64 is not supported" in one(
        distribution=name, distribution_version=release
    )


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("Debian", "12"),
        ("Debian", "12.11"),
        ("Debian", "14"),
        ("Ubuntu", "22.04"),
        ("Ubuntu", "25.10"),
    ],
)
def test_a_supported_distribution_is_taken(name: str, release: str) -> None:
    assert problems(distribution=name, distribution_version=release) == []


def test_another_processor_is_refused() -> None:
    assert "on armv7l is not supported" in one(architecture="armv7l")


def test_too_little_memory_is_refused() -> None:
    assert "1000 MB of memory, the stack needs 1800 MB" in one(memory_mb=1000)


# ---- the engine ---------------------------------------------------------------------------------


def test_user_namespaces_are_refused_whether_the_engine_runs_or_not() -> None:
    assert "userns-remap" in one(("engine|info|SecurityOptions", ["name=seccomp", "name=userns"]))
    assert "userns-remap" in one(("engine", {}), ("daemon|settings", {"userns-remap": "default"}))


def test_a_rootless_engine_is_refused() -> None:
    assert "is rootless" in one(("engine|info|SecurityOptions", ["name=seccomp", "name=rootless"]))


def test_an_engine_of_snap_is_refused_whether_it_runs_or_not() -> None:
    data = "/var/snap/docker/common/var-lib-docker"
    assert "from snap" in one(("engine|info|DockerRootDir", data))
    assert "from snap" in one(("engine", {}), ("installation|snap", True))


def test_docker_desktop_is_refused() -> None:
    assert "Docker Desktop's" in one(("engine|info|OperatingSystem", "Docker Desktop"))
    assert "Docker Desktop's" in one(
        ("engine|version|Platform", {"Name": "Docker Desktop 4.42.0 (195023)"})
    )


def test_podman_is_refused_as_command_and_as_engine() -> None:
    assert "podman-docker" in one(("engine", {}), ("installation|podman", True))
    parts = [{"Name": "Podman Engine", "Version": "5.4.2"}, {"Name": "Conmon"}]
    assert "Podman answers" in one(
        ("engine|version", {"Platform": {"Name": "linux/amd64/debian-13"}, "Components": parts})
    )


def test_an_installation_that_would_remove_a_package_is_refused() -> None:
    said = one(
        ("engine", {}),
        ("installation|installed", False),
        ("installation|removals", ["containerd.io", "docker-ce-cli"]),
    )
    assert "Installing docker.io would remove containerd.io, docker-ce-cli" in said


def test_a_masked_unit_matters_where_the_engine_has_to_be_started() -> None:
    assert "systemctl unmask docker.service" in one(("engine", {}), ("installation|masked", True))
    assert problems(("installation|masked", True)) == []


@pytest.mark.parametrize(
    ("found", "count"), [("19.03.15", 1), ("20.10.24+dfsg1", 0), ("28.2.2", 0)]
)
def test_an_old_engine_is_refused(found: str, count: int) -> None:
    said = problems(("engine|version|Version", found))
    assert len(said) == count
    assert all(f"engine here is {found}" in each for each in said)


def test_a_configuration_that_the_engine_cannot_read_is_refused() -> None:
    assert "Expecting value" in one(("daemon", {"error": "Expecting value: line 1"}))


def test_a_taken_port_of_the_engine_is_refused_where_it_has_to_be_started() -> None:
    hosts = ("daemon|settings", {"hosts": ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2375"]})
    taken = ("listeners", [{"address": "127.0.0.1", "port": 2375, "program": "socat"}])
    assert "its port 2375" in one(("engine", {}), hosts, taken)
    assert problems(("engine", {}), hosts) == []
    # It is the engine that listens there.
    assert problems(hosts, taken) == []


# ---- places -------------------------------------------------------------------------------------


def test_a_disk_that_is_nearly_full_is_refused() -> None:
    assert (
        "30 MB are free where the engine keeps its data (/var/lib/docker), the stack needs"
        in one(("places|/var/lib/docker", PLACE | {"free_mb": 30}))
    )
    assert "free at /var." in one(("places|/var", PLACE | {"free_mb": 30}))


def test_a_disk_without_inodes_is_refused() -> None:
    assert "too few inodes left at /var." in one(("places|/var", PLACE | {"free_inodes": 12}))
    assert "left at /var/lib/docker." in one(
        ("places|/var/lib/docker", PLACE | {"free_inodes": 12_000})
    )
    # Btrfs counts none.
    assert problems(("places|/var", PLACE | {"free_inodes": None})) == []


def test_a_read_only_place_is_refused() -> None:
    closed = PLACE | {"read_only": True}
    assert "written at /var:" in one(("places|/var", closed))


def test_the_engines_configuration_matters_where_it_is_written() -> None:
    closed = ("places|/etc/docker/daemon.json", PLACE | {"read_only": True})
    assert problems(closed) == []
    assert "/etc/docker/daemon.json" in one(closed, ("engine|info|LiveRestoreEnabled", False))
    assert "/etc/docker/daemon.json" in one(closed, ("engine", {}))


# ---- ports --------------------------------------------------------------------------------------


def test_a_port_of_a_program_is_refused() -> None:
    said = one(("listeners", [{"address": "127.0.0.1", "port": 443, "program": "nginx"}]))
    assert "Port 443 (stack_https_port) is taken by nginx at 127.0.0.1:443" in said
    assert "-e stack_https_port=…" in said


@pytest.mark.parametrize("proxy", [True, False])
def test_a_port_of_another_container_is_refused_by_the_containers_name(proxy: bool) -> None:
    # Without its userland proxy an engine may hold the port where no program is seen to listen.
    heard = [{"address": "0.0.0.0", "port": 443, "program": "docker-proxy"}] if proxy else []
    said = one(
        ("listeners", heard), ("engine|published", [{"container": "shop-web-1", "port": 443}])
    )
    assert "is taken by the container shop-web-1." in said


def test_a_port_of_the_stacks_own_container_is_no_problem() -> None:
    assert (
        problems(
            ("listeners", [{"address": "0.0.0.0", "port": 443, "program": "docker-proxy"}]),
            ("engine|containers", [{"name": "app-nginx-1"}]),
            ("engine|published", [{"container": "app-nginx-1", "port": 443}]),
        )
        == []
    )


def test_the_port_of_a_part_that_may_be_left_out_says_so() -> None:
    settings = WANTED | {"unless": {"stack_grafana_port": ", or leave Grafana out"}}
    machine = MACHINE | {"listeners": [{"address": "*", "port": 3000, "program": "node"}]}
    (said,) = FilterModule().filters()["port_problems"](machine, settings)
    assert "-e stack_grafana_port=…, or leave Grafana out." in said


def test_two_parts_of_the_stack_on_one_port_are_refused() -> None:
    said = one(ports=WANTED["ports"] | {"stack_grafana_port": 9090})
    assert "stack_prometheus_port and stack_grafana_port are both 9090" in said


# ---- the subnet ---------------------------------------------------------------------------------


@pytest.mark.parametrize("subnet", ["172.28.0.0/16", "172.28.10.0/24", "172.28.10.128/25"])
def test_a_docker_network_that_overlaps_is_refused_by_its_name(subnet: str) -> None:
    both = network("shop_default", subnet)
    said = one(both, route(subnet, "br-0123456789ab"))
    assert f"is in use: the Docker network shop_default ({subnet}). " in said


@pytest.mark.parametrize(
    ("prefix", "table"),
    [("172.28.0.0/16", "main"), ("172.16.0.0/12", "51820"), ("172.28.10.7", "220")],
)
def test_a_route_that_overlaps_is_refused_by_its_interface(prefix: str, table: str) -> None:
    said = one(route(prefix, table=table))
    assert "the interface wg0 (" in said
    assert prefix in said
    assert (f"routing table {table}" in said) == (table != "main")


def test_a_route_by_a_docker_bridge_that_is_not_its_networks_is_refused() -> None:
    assert "the interface docker0 (172.28.0.0/16" in one(route("172.28.0.0/16", "docker0"))


def test_an_address_of_the_machine_inside_the_subnet_is_refused() -> None:
    assert "the interface tun0 (172.28.10.9/32)" in one(
        route("172.28.10.9", "tun0", type="local", table="local")
    )


def test_a_route_to_nowhere_matters_inside_the_subnet_only() -> None:
    assert "of the type blackhole" in one(route("172.28.10.0/25", "", type="blackhole"))
    assert problems(route("172.16.0.0/12", "", type="unreachable")) == []


@pytest.mark.parametrize("prefix", ["default", "0.0.0.0/0", "128.0.0.0/1", "172.0.0.0/6"])
def test_a_default_route_of_a_vpn_is_no_problem(prefix: str) -> None:
    assert problems(route(prefix, "tun0", table="51820")) == []


def test_the_stacks_own_network_is_no_problem() -> None:
    assert problems(OWN, route("172.28.10.0/24", "br-app")) == []
    # After a start without the engine its bridge is still there.
    assert problems(("engine", {}), route("172.28.10.0/24", "br-app")) == []


def test_a_vpn_that_came_after_the_stack_stops_no_run() -> None:
    assert problems(OWN, route("172.16.0.0/12")) == []
    assert len(problems(OWN, route("172.28.10.128/25"))) == 1


def test_the_remedy_is_a_subnet_that_is_free() -> None:
    found = [network("shop", "172.28.0.0/14")]
    assert "-e stack_subnet=10.201.10.0/24." in one(*found)
    assert "-e stack_subnet=10.202.10.0/24." in one(*found, route("10.201.0.0/16"))
    assert all(each.endswith(".0/24") for each in CANDIDATES)


def test_an_ipv6_network_is_none_of_ours() -> None:
    assert problems(network("six", "fd00:1::/64"), route("fe80::/64")) == []


def test_a_network_of_the_stacks_name_that_is_another_is_refused() -> None:
    assert "Docker network app that is not this stack's" in one(
        network("app", "10.9.0.0/24", stack="other")
    )
