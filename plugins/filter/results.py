"""Results of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def failure_reason(result: Mapping[str, Any]) -> str:
    """Return why a task failed: of a loop, why its first failed item did."""
    failed = (item for item in result.get("results", []) if item.get("failed"))
    item = next(failed, result)
    return str(item.get("stderr") or item.get("msg") or "no reason given")


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"failure_reason": failure_reason}
