"""Look at the machine and print what is found as JSON; nothing is changed.

Usage: survey.py STACK SETTINGS PACKAGES PATH...

SETTINGS is the file of the installed stack's settings; PACKAGES, with commas, are installed where
no engine is.

One process instead of a task for each question. Decisions are made from it in the roles and in
plugins/filter/preflight.py.
"""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# The machine's own engine, whatever DOCKER_HOST or a context of the user's says.
ENGINE = {"DOCKER_HOST": "unix:///var/run/docker.sock"}
DAEMON = Path("/etc/docker/daemon.json")
SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"


def output(*command: str, timeout: float = 60, partly: bool = False) -> str:
    """Return what a command prints, or nothing if it is missing, hangs or, unless partly, fails."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    environment = {**kept, **ENGINE, "LC_ALL": "C", "PATH": SBIN}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if partly or done.returncode == 0 else ""


def parsed(text: str, empty: Any) -> Any:
    try:
        return json.loads(text or "null") or empty
    except ValueError:
        return empty


def listeners(text: str) -> list[dict[str, Any]]:
    """Read `ss -Hltnp`: address, port and program of each TCP socket that listens."""
    found = []
    for line in text.splitlines():
        words = line.split(maxsplit=5)
        if len(words) < 5:
            continue
        address, _, port = words[3].rpartition(":")
        program = re.search(r'users:\(\("([^"]*)"', line)
        found.append(
            {
                "address": address.strip("[]"),
                "port": int(port),
                "program": program[1] if program else "",
            }
        )
    return found


def routes(text: str) -> list[dict[str, str]]:
    """Read `ip -json route show table all`: network, interface and table of each route."""
    return [
        {
            "network": route["dst"],
            "interface": route.get("dev", ""),
            "type": route.get("type", "unicast"),
            "table": str(route.get("table", "main")),
        }
        for route in parsed(text, [])
        # A route by several ways names the interfaces of each; the network is the same.
        if "dst" in route
    ]


def networks(text: str) -> list[dict[str, Any]]:
    """Read `docker network inspect`."""
    return [
        {
            "name": network["Name"],
            "driver": network["Driver"],
            "subnets": [
                each["Subnet"] for each in network["IPAM"].get("Config") or [] if each.get("Subnet")
            ],
            "bridge": (network.get("Options") or {}).get("com.docker.network.bridge.name")
            or f"br-{network['Id'][:12]}",
            "stack": (network.get("Labels") or {}).get("stack"),
        }
        for network in parsed(text, [])
    ]


def published(text: str) -> list[dict[str, Any]]:
    """Read NAME<tab>PORTS of `docker ps`: each container with the ports of the machine it holds."""
    found = []
    for line in text.splitlines():
        name, _, ports = line.partition("\t")
        for first, last in re.findall(r":(\d+)(?:-(\d+))?->", ports):
            found += [
                {"container": name, "port": port}
                for port in range(int(first), int(last or first) + 1)
            ]
    return found


def image_ids(text: str) -> dict[str, str]:
    """Read REFERENCE ID of `docker image ls`: the id of the image that each reference names."""
    return dict(line.split() for line in text.splitlines())


def containers(text: str, images: dict[str, str]) -> list[dict[str, Any]]:
    """Read `docker inspect`: each container with its image, labels, state and health.

    `image_now` is the id of the image that its reference names now, None where it names none.
    """
    found = []
    for item in parsed(text, []):
        labels, state = item["Config"].get("Labels") or {}, item["State"]
        image = item["Config"]["Image"]
        found.append(
            {
                "name": item["Name"].lstrip("/"),
                "component": labels.get("stack.component", ""),
                "service": labels.get("stack.variant", ""),
                "config": labels.get("stack.config", ""),
                "image": image,
                "image_id": item["Image"],
                # As the engine lists it: without the registry's name where that is the default one.
                "image_now": images.get(re.sub(r"^docker\.io/(library/)?", "", image)),
                "state": state["Status"],
                "health": (state.get("Health") or {}).get("Status", "none"),
            }
        )
    return found


def existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def place(path: Path) -> dict[str, Any]:
    """Return how much room is left at the path and whether it may be written to."""
    there = existing(path)
    state = os.statvfs(there)
    return {
        "free_mb": state.f_bavail * state.f_frsize // 2**20,
        # Some file systems count none.
        "free_inodes": state.f_favail if state.f_files else None,
        "read_only": bool(state.f_flag & os.ST_RDONLY) or not os.access(there, os.W_OK),
    }


def daemon() -> dict[str, Any]:
    """Return the engine's configuration, or why it cannot be read."""
    try:
        text = DAEMON.read_text(encoding="utf-8")
        settings = json.loads(text) if text.strip() else {}
        if not isinstance(settings, dict):
            return {"error": "it holds no JSON object"}
    except FileNotFoundError:
        return {"settings": {}}
    except (OSError, ValueError) as error:
        return {"error": str(error)}
    return {"settings": settings}


def removals(packages: list[str]) -> list[str]:
    """Return the packages that would have to go for these to be installed."""
    simulated = output("apt-get", "--simulate", "--no-install-recommends", "install", *packages)
    return re.findall(r"(?m)^Remv (\S+)", simulated)


def installation(packages: list[str], answers: bool) -> dict[str, Any]:
    """Return what there is of an engine, whether it runs or not."""
    client = shutil.which("docker", path=SBIN)
    complete = bool(client) and bool(shutil.which("dockerd", path=SBIN))
    return {
        "installed": complete,
        "podman": output("docker", "--version").startswith("podman"),
        "snap": bool(client) and str(client).startswith("/snap/"),
        "masked": output("systemctl", "show", "--property=LoadState", "docker.service").strip()
        == "LoadState=masked",
        "removals": [] if answers or complete else removals(packages),
    }


def engine(stack: str) -> dict[str, Any]:
    """Return what the engine says of itself and of the stack; empty where none answers."""
    version = parsed(output("docker", "version", "--format", "{{json .Server}}"), {})
    if not version:
        return {}
    names = output("docker", "network", "ls", "--quiet").split()
    label = f"label=stack={stack}"
    inspected = output("docker", "ps", "--all", "--quiet", "--filter", label).split()
    listed = image_ids(
        output(
            "docker", "image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"
        )
    )
    return {
        "version": version,
        "info": parsed(output("docker", "info", "--format", "{{json .}}"), {}),
        "networks": networks(output("docker", "network", "inspect", *names)) if names else [],
        "published": published(output("docker", "ps", "--format", "{{.Names}}\t{{.Ports}}")),
        "images": list(listed),
        "base": output(
            "docker", "image", "inspect", "--format", "{{.Id}}", f"{stack}-base:trixie"
        ).strip(),
        "containers": containers(
            # One that is gone by now fails the command, which prints the others all the same.
            output("docker", "inspect", *inspected, partly=True) if inspected else "",
            listed,
        ),
        "volumes": output("docker", "volume", "ls", "--quiet", "--filter", label).splitlines(),
    }


def installed_version(settings: Path) -> str:
    """Return the version of the installed stack; empty where there is none.

    A stack that was installed before versions has the version 0.0.0.
    """
    try:
        return str(parsed(settings.read_text(encoding="utf-8"), {}).get("version", "0.0.0"))
    except FileNotFoundError:
        return ""


def survey(stack: str, settings: Path, packages: list[str], paths: list[str]) -> dict[str, Any]:
    """Return all that the roles want to know of the machine."""
    # Before the engine is asked: a container that starts meanwhile is then in its list.
    heard = listeners(output("ss", "-Hltnp"))
    there = engine(stack)
    configured = daemon()
    info = there.get("info", {})
    data = info.get("DockerRootDir") or configured.get("settings", {}).get("data-root")
    missing = [tool for tool in ("nft", "logrotate", "ss") if not shutil.which(tool, path=SBIN)]
    libraries = ("cryptography", "passlib", "requests")
    if not all(map(importlib.util.find_spec, libraries)):
        missing.append("python")
    return {
        "version": installed_version(settings),
        "listeners": heard,
        "routes": routes(output("ip", "-json", "-4", "route", "show", "table", "all")),
        "rules": [
            line.strip()
            for line in output("nft", "list", "table", "inet", stack).splitlines()
            if line.strip()
        ],
        "missing": missing,
        "daemon": configured,
        "installation": installation(packages, bool(there)),
        "engine": there,
        "data": str(data or "/var/lib/docker"),
        "places": {
            path: place(Path(path))
            for path in [
                *paths,
                str(DAEMON),
                str(data or "/var/lib/docker"),
                "/var",
                tempfile.gettempdir(),
            ]
        },
    }


def main() -> None:
    """Print the survey of the machine that this runs on."""
    stack, settings, packages, *paths = sys.argv[1:]
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(survey(stack, Path(settings), packages.split(","), paths)))


if __name__ == "__main__":
    main()
