"""Containers: what a role wants, resolved into options, held against what the survey found.

A wanted container is a dictionary of options of community.docker.docker_container, with a few keys
of our own (see OWN_KEYS). A found one is what roles/stack/files/survey.py prints of it. They are
matched by name. Whether they are the same is decided by the label `stack.config`, a hash of the
resolved options like Docker Compose's config-hash, and by the id of the image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Container = Mapping[str, Any]

# What the roles say of a container in words of the stack. The rest are options of the module.
OWN_KEYS = {"component", "service", "address"}
CONFIG = "stack.config"


def plain(value: Any) -> Any:
    """Return the value with its templates resolved, in plain dictionaries and lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def config_hash(options: Container) -> str:
    """Return a short hash of the options: the order of their keys means nothing, all else does."""
    canonical = json.dumps(plain(options), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def container_options(container: Container, common: Container) -> dict[str, Any]:
    """Return all options of a container, its labels included.

    Args:
        container: its own options, which come before those in common, and
            component: label `stack.component`, and the host name unless it has its own;
            service: label `stack.variant`, for a replica;
            address: fixed address in the stack's network; without one it has no network.
        common: options of every container. Its network_mode is the stack's network.
    """
    given = plain(container)
    own = {key: value for key, value in given.items() if key not in OWN_KEYS}
    options = {"hostname": given["component"], **plain(common), **own}
    # No swap: what does not fit in memory is killed.
    options["memory_swap"] = options["memory"]
    if address := given.get("address"):
        options["networks"] = [{"name": options["network_mode"], "ipv4_address": address}]
    else:
        options["network_mode"] = "none"
    options["labels"] = {**options["labels"], "stack.component": given["component"]}
    if service := given.get("service"):
        options["labels"]["stack.variant"] = service
    options["labels"][CONFIG] = config_hash(options)
    return options


def is_same(options: Container, found: Container) -> bool:
    """Tell whether a found container was made of these options, and of the image they name now."""
    return bool(
        found["config"] == options["labels"][CONFIG]
        and found["image"] == options["image"]
        and found["image_id"] == found["image_now"]
    )


def running(found: Iterable[Container], component: str = "") -> list[Container]:
    """Return those that run, of one component if it is given."""
    return [
        each
        for each in found
        if each["state"] == "running" and component in ("", each["component"])
    ]


def _health(wanted: Container, found: Iterable[Container], common: Container) -> str | None:
    """Return the health of the container that runs as it is wanted, None if there is none."""
    options = container_options(wanted, common)
    same = (each for each in running(found) if each["name"] == options["name"])
    return next((str(each["health"]) for each in same if is_same(options, each)), None)


def to_replace(
    wanted: Iterable[Container], found: Sequence[Container], common: Container
) -> list[Container]:
    """Return those that are missing, stopped, different or unhealthy.

    A new one is not among them: the engine calls it starting until its first check is due.
    """
    return [each for each in wanted if _health(each, found, common) in (None, "unhealthy")]


def to_run(
    wanted: Iterable[Container], found: Sequence[Container], common: Container
) -> list[Container]:
    """Return those to replace, and those that still start: all but those with nothing to do."""
    return [each for each in wanted if _health(each, found, common) not in ("healthy", "none")]


def unhealthy(found: Iterable[Container]) -> list[str]:
    """Return the names of those that run and fail their health check."""
    return [str(each["name"]) for each in running(found) if each["health"] == "unhealthy"]


def changed_services(
    wanted: Iterable[Container], found: Sequence[Container], common: Container
) -> list[str]:
    """Return the services of which replicas run, but none as it is wanted."""
    replicas = [container_options(each, common) for each in wanted]
    here = {each["name"]: each for each in running(found)}
    run: dict[str, list[bool]] = {}
    for options in replicas:
        if options["name"] in here:
            same = is_same(options, here[options["name"]])
            run.setdefault(options["labels"]["stack.variant"], []).append(same)
    return [service for service, same in run.items() if not any(same)]


def replica_containers(
    replicas: Iterable[Container], common: Container, images: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the container of each replica.

    Args:
        replicas: name, container, service and address of each.
        common: what all of them have in common.
        images: component -> reference of its image; that of a service is `api-<service>`.
    """
    return [
        {
            **plain(common),
            "name": replica["container"],
            "hostname": replica["name"],
            "service": replica["service"],
            "address": replica["address"],
            "image": images.get(f"api-{replica['service']}", "none"),
            "env": {"REPLICA": replica["name"]},
        }
        for replica in replicas
    ]


def run_arguments(options: Container) -> list[str]:
    """Return the arguments of `docker run` for a container of a moment: confined, and with mounts.

    It has no name, address, published port or label of the container that the options are of.
    """
    lists = {"cap_drop": "cap-drop", "security_opts": "security-opt", "tmpfs": "tmpfs"}
    lists |= {"volumes": "volume"}
    single = {"network_mode": "network", "user": "user", "memory": "memory", "cpus": "cpus"}
    single |= {"memory_swap": "memory-swap", "pids_limit": "pids-limit"}
    return [
        *(["--read-only"] if options["read_only"] else []),
        *(f"--{flag}={options[key]}" for key, flag in single.items()),
        *(f"--{flag}={each}" for key, flag in lists.items() for each in options.get(key, [])),
        # The module writes name:soft:hard, the command name=soft:hard.
        *(f"--ulimit={each.replace(':', '=', 1)}" for each in options.get("ulimits", [])),
    ]


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "container_options": container_options,
            "running": running,
            "to_replace": to_replace,
            "to_run": to_run,
            "unhealthy": unhealthy,
            "changed_services": changed_services,
            "replica_containers": replica_containers,
            "run_arguments": run_arguments,
        }
