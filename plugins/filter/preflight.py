"""What keeps a machine from carrying the stack, as sentences that say what to do.

Every function takes what roles/stack/files/survey.py found and what the run wants (`settings`, see
__docker_wanted in roles/docker/vars/main.yml), and returns one sentence for each problem.
"""

import ipaddress
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

Found = dict[str, Any]
Settings = dict[str, Any]
Network = ipaddress.IPv4Network

# Releases that the roles were run on, and newer ones.
OLDEST = {"Debian": (12,), "Ubuntu": (22, 4)}
PROCESSORS = ("x86_64", "aarch64")
# Room outside the engine's data: configuration, logs, packages, the context of an image build.
SMALL_MB = 200
SMALL_INODES = 2_000
# What the images and their layers take.
ENGINE_INODES = 50_000
# A VPN that takes everything splits the default route into routes as wide as these.
WIDEST_PREFIX = 8
# Where a stack's subnet may go: private addresses that cloud networks and home routers seldom use.
CANDIDATES = [f"172.{a}.{b}.0/24" for a in (28, 29, 30, 31) for b in range(10, 250, 10)]
CANDIDATES += [f"10.{a}.10.0/24" for a in range(201, 250)]


def version(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version; none for `n/a` or an empty text."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def machine_problems(found: Found, settings: Settings) -> Iterator[str]:
    """Distribution, processor and memory."""
    name, release = settings["distribution"], settings["distribution_version"]
    supported = "Use Debian 12 or newer, or Ubuntu 22.04 or newer, on x86_64 or aarch64."
    if name in OLDEST and not version(release):
        yield (
            f"This {name} has no release number (testing or unstable), and its packages change "
            f"daily: it is not supported. {supported}"
        )
    elif version(release) < OLDEST.get(name, (10**6,)) or (
        settings["architecture"] not in PROCESSORS
    ):
        yield f"{name} {release} on {settings['architecture']} is not supported. {supported}"
    if settings["memory_mb"] < settings["min_memory_mb"]:
        yield (
            f"The machine has {settings['memory_mb']} MB of memory, the stack needs "
            f"{settings['min_memory_mb']} MB. Give it more (4096 MB is comfortable), or lower "
            "docker_min_memory_mb if the stack needs less here."
        )


def installation_problems(found: Found, settings: Settings) -> Iterator[str]:
    """What is installed in the engine's place, and what an installation would remove."""
    there = found["installation"]
    if there["podman"]:
        yield (
            "The command docker on this machine is Podman's, which the stack does not support. "
            "Remove the package podman-docker (Podman itself may stay), or use another machine."
        )
    elif there["snap"]:
        yield (
            "Docker was installed from snap, which confines it to home folders. Remove it with "
            "`snap remove docker` (its containers and volumes go with it), or use another machine."
        )
    elif there["removals"]:
        yield (
            f"Installing {settings['packages']} would remove {', '.join(there['removals'])}. "
            "Install an engine that fits beside it (docker-ce beside containerd.io), or use "
            "another machine."
        )
    if there["masked"] and not found["engine"]:
        yield (
            "The engine's unit is masked, so it cannot be started. Allow it with "
            "`systemctl unmask docker.service docker.socket`."
        )


def engine_problems(found: Found, settings: Settings) -> Iterator[str]:
    """An engine of another kind, or of an old version."""
    engine = found["engine"]
    if not engine:
        return
    info, server = engine["info"], engine["version"]
    options = " ".join(info.get("SecurityOptions") or [])
    names = [part.get("Name", "") for part in server.get("Components") or []]
    if "Podman Engine" in names:
        yield (
            "Podman answers at /var/run/docker.sock in Docker's place. Stop podman.socket, remove "
            "the package podman-docker, and let this run install Docker."
        )
        return
    desktop = "Docker Desktop"
    if info.get("OperatingSystem") == desktop or desktop in server.get("Platform", {}).get(
        "Name", ""
    ):
        yield (
            "The engine is Docker Desktop's: it runs in a virtual machine of its own, without the "
            "stack's files and network. Install Docker Engine on this machine, or use another one."
        )
    if "name=rootless" in options:
        yield (
            "The engine at /var/run/docker.sock is rootless; the stack needs one that root runs. "
            "Remove that link and start the system's engine (`systemctl enable --now docker`)."
        )
    if str(info.get("DockerRootDir", "")).startswith("/var/snap/"):
        yield (
            "The engine was installed from snap, which confines it to home folders. Remove it with "
            "`snap remove docker` (its containers and volumes go with it), or use another machine."
        )
    if version(server.get("Version", "")) < version(settings["min_engine"]):
        yield (
            f"The Docker engine here is {server.get('Version')}; the stack needs "
            f"{settings['min_engine']} or newer. Upgrade it."
        )


def configuration_problems(found: Found, settings: Settings) -> Iterator[str]:
    """The engine's configuration, which it reads when it starts, and what it has of it now."""
    daemon = found["daemon"]
    if "error" in daemon:
        yield (
            "The engine's configuration /etc/docker/daemon.json cannot be read: "
            f"{daemon['error']}. Correct it, or move it away."
        )
    configured = daemon.get("settings", {})
    options = " ".join(found["engine"].get("info", {}).get("SecurityOptions") or [])
    if configured.get("userns-remap") or "name=userns" in options:
        yield (
            "The engine maps user ids (userns-remap), so containers cannot read the files that the "
            "stack gives them. Take userns-remap out of /etc/docker/daemon.json and restart the "
            "engine, or use another machine."
        )
    if not found["engine"]:
        for host in configured.get("hosts") or []:
            port = re.fullmatch(r"tcp://.*:(\d+)", str(host))
            for holder in holders(found, int(port[1])) if port else []:
                yield (
                    f"The engine would not start: its port {port[1] if port else ''} ({host} in "
                    f"/etc/docker/daemon.json) is taken by {holder}. Stop that program, or take "
                    "the address out."
                )


def place_problems(found: Found, settings: Settings) -> Iterator[str]:
    """Disks that are full, out of inodes or read-only."""
    data, places = found["data"], found["places"]
    free = places[data]["free_mb"]
    if free < settings["min_disk_mb"]:
        yield (
            f"{free} MB are free where the engine keeps its data ({data}), the stack needs "
            f"{settings['min_disk_mb']} MB. Make room (`docker system df` shows what the engine "
            "holds), or lower docker_min_disk_mb if the stack needs less here."
        )
    needs_daemon = not found["engine"] or (
        found["engine"]["info"].get("LiveRestoreEnabled") != settings["live_restore"]
    )
    used = {
        path: place
        for path, place in places.items()
        if needs_daemon or path != "/etc/docker/daemon.json"
    }

    def paths(holds: Callable[[str, dict[str, Any]], bool]) -> str:
        return ", ".join(sorted(path for path, place in used.items() if holds(path, place)))

    if full := paths(lambda path, place: path != data and place["free_mb"] < SMALL_MB):
        yield f"Less than {SMALL_MB} MB are free at {full}. Make room there (`df` shows it)."
    if full := paths(
        lambda path, place: (
            place["free_inodes"] is not None
            and place["free_inodes"] < (ENGINE_INODES if path == data else SMALL_INODES)
        )
    ):
        yield (
            f"The file system has too few inodes left at {full}. Remove files there "
            "(`df --inodes`, and `du --inodes` finds where they are)."
        )
    if closed := paths(lambda _, place: bool(place["read_only"])):
        yield f"Nothing can be written at {closed}: mount the file system for writing (`findmnt`)."


def holders(found: Found, port: int) -> list[str]:
    """Return what listens on the port: containers by their name, else programs."""
    containers = [
        f"the container {each['container']}"
        for each in found["engine"].get("published", [])
        if each["port"] == port
    ]
    programs = [
        f"{each['program'] or 'a program'} at {each['address']}:{port}"
        for each in found["listeners"]
        if each["port"] == port
    ]
    return list(dict.fromkeys(containers or programs))


def port_problems(found: Found, settings: Settings) -> Iterator[str]:
    """Ports that two parts of the stack want, or that are in use."""
    names = defaultdict(list)
    for name, port in settings["ports"].items():
        names[int(port)].append(name)
    own = {each["name"] for each in found["engine"].get("containers", [])}
    ours = {
        each["port"] for each in found["engine"].get("published", []) if each["container"] in own
    }
    for port, wanted in names.items():
        unless = settings.get("unless", {}).get(wanted[0], "")
        if len(wanted) > 1:
            yield f"{' and '.join(wanted)} are both {port}: give each a port of its own."
        if port not in ours and (taken := holders(found, port)):
            yield (
                f"Port {port} ({wanted[0]}) is taken by {', '.join(taken)}. Stop it, or "
                f"choose another port with -e {wanted[0]}=…{unless}."
            )


def parse(text: str) -> Network | None:
    """Return an IPv4 network; None for a default route and for IPv6."""
    try:
        return ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return None


def overlaps(found: Found, settings: Settings, subnet: Network) -> Iterator[str]:
    """Name the Docker networks and the routes, of any table, that share addresses with a subnet."""
    engine_networks = found["engine"].get("networks", [])
    # Routes of the engine's networks, which are named by the network.
    connected: set[tuple[str, Network]] = set()
    holding = False
    for network in engine_networks:
        for text in network["subnets"]:
            other = parse(text)
            if other is None or not other.overlaps(subnet):
                continue
            connected.add((network["bridge"], other))
            if network["stack"] == settings["stack"]:
                holding = True
            else:
                yield f"the Docker network {network['name']} ({other})"
    seen = set()
    for route in found["routes"]:
        other = parse(route["network"])
        interface, kind = route["interface"], route["type"]
        if other is None or not other.overlaps(subnet) or interface == settings["bridge"]:
            continue
        if any(interface == bridge and other.subnet_of(own) for bridge, own in connected):
            continue
        # The narrower route wins: a default route in pieces, a route to nowhere and a VPN that came
        # after the stack do no harm.
        harmless = other.prefixlen < WIDEST_PREFIX or kind not in ("unicast", "local") or holding
        if harmless and not other.subnet_of(subnet):
            continue
        if kind in ("broadcast", "multicast", "anycast") or (kind == "local" and interface in seen):
            continue
        seen.add(interface)
        where = f"the interface {interface}" if interface else f"a route of the type {kind}"
        table = "" if route["table"] in ("main", "local") else f", routing table {route['table']}"
        yield f"{where} ({other}{table})"


def subnet_problems(found: Found, settings: Settings) -> Iterator[str]:
    """A subnet that is in use, and a network of the stack's name that is not the stack's."""
    subnet = ipaddress.IPv4Network(settings["subnet"])
    if foreign := list(dict.fromkeys(overlaps(found, settings, subnet))):
        free = next(
            (
                each
                for each in CANDIDATES
                if not any(overlaps(found, settings, ipaddress.IPv4Network(each)))
            ),
            "…",
        )
        yield (
            f"stack_subnet ({subnet}) is in use: {'; '.join(foreign)}. Choose a free /24 with "
            f"-e stack_subnet={free}."
        )
    for network in found["engine"].get("networks", []):
        if network["name"] == settings["stack"] != network["stack"]:
            yield (
                f"There is a Docker network {network['name']} that is not this stack's. Choose "
                "another name with -e stack_name=…, or remove that network."
            )


def preflight_problems(found: Found, settings: Settings) -> list[str]:
    """Return one sentence for each thing that keeps the machine from carrying the stack."""
    checks: list[Callable[[Found, Settings], Iterator[str]]] = [
        machine_problems,
        installation_problems,
        engine_problems,
        configuration_problems,
        place_problems,
        port_problems,
        subnet_problems,
    ]
    return [problem for check in checks for problem in check(found, settings)]


class FilterModule:
    """What Ansible looks for in a file of filters."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Return the filters by name."""
        return {
            "preflight_problems": preflight_problems,
            # For a part that may be left out.
            "port_problems": lambda found, settings: list(port_problems(found, settings)),
        }
