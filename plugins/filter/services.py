"""The replicas of the prediction services: pure functions on `api_services`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Last part of the first replica's address, and the distance from service to service.
FIRST_ADDRESS, ADDRESSES = 21, 20


def replicas(
    services: Iterable[Mapping[str, Any]], stack: str, prefix: str, port: int
) -> list[dict[str, Any]]:
    """Return each replica with its service, name, container, address and port.

    Args:
        services: entries of `api_services`; their order decides the addresses.
        stack: the stack's name.
        prefix: the first three parts of the stack's subnet, `172.28.10`.
        port: where a replica listens.
    """
    return [
        {
            "service": service["name"],
            "name": f"{service['name']}-{n}",
            "container": f"{stack}-api-{service['name']}-{n}",
            "address": f"{prefix}.{FIRST_ADDRESS + ADDRESSES * position + n - 1}",
            "port": port,
        }
        for position, service in enumerate(services)
        for n in range(1, service["replicas"] + 1)
    ]


class FilterModule:
    """Makes them filters of Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"replicas": replicas}
