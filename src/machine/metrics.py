"""Metrics of the containers and of the last changes, as a text file for Prometheus' node exporter.

The engine is asked on the machine, so no container needs its socket, and control groups of both
versions are read by the program that made them.
"""

import datetime as dt

from . import engine, lock
from .containers import TEMPORARY
from .settings import Settings

# Changes of the history that become metrics.
CHANGES = 20
# Metric of a container, without its prefix -> help text.
CONTAINER_METRICS = {
    "cpu_seconds_total": "CPU time that the container has used.",
    "memory_bytes": "Memory that it uses, without what the kernel can drop at once.",
    "memory_limit_bytes": "Memory that it may use; 0: no limit.",
    "restarts_total": "Restarts by the engine since it was made.",
    "running": "1 when it runs.",
    "healthy": "0 when it fails its health check.",
    "started_timestamp_seconds": "When it was started last, as Unix time.",
}


def unix_time(text: str) -> float:
    """Return the Unix time of a UTC timestamp; the engine's nanoseconds are dropped."""
    return dt.datetime.fromisoformat(text[:19] + "+00:00").timestamp()


def labels(**values: str) -> str:
    """Return labels in Prometheus' text format."""
    escaped = {
        name: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        for name, value in values.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"


def usage(container: str) -> dict[str, float]:
    """Return CPU time (s) and memory (bytes) of a container; nothing if it has just ended."""
    found = engine.request("GET", f"/containers/{container}/stats?stream=false&one-shot=true")
    if not found:
        return {}
    memory = found["memory_stats"]
    stats = memory.get("stats", {})
    # Version 2 of the control groups, and version 1.
    cache = stats.get("inactive_file", stats.get("total_inactive_file", 0))
    return {
        "cpu_seconds_total": found["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        "memory_bytes": memory.get("usage", 0) - cache,
    }


def of_containers(stack: str) -> dict[str, list[str]]:
    """Return metric -> its samples, one for each container."""
    samples: dict[str, list[str]] = {name: [] for name in CONTAINER_METRICS}
    for item in engine.listed(stack):
        name = item["Names"][0].lstrip("/")
        if name.endswith(TEMPORARY):
            continue
        record = engine.request("GET", f"/containers/{item['Id']}/json")
        state = record["State"]
        values = {
            "memory_limit_bytes": record["HostConfig"]["Memory"],
            "restarts_total": record["RestartCount"],
            "running": int(state["Running"]),
            "healthy": int(state.get("Health", {}).get("Status") != "unhealthy"),
            "started_timestamp_seconds": unix_time(state["StartedAt"]),
        }
        if state["Running"]:
            values |= usage(item["Id"])
        component = item["Labels"].get("stack.component", "")
        for metric, value in values.items():
            samples[metric].append(f"{labels(container=name, component=component)} {value}")
    return samples


def of_changes(settings: Settings) -> list[str]:
    """Return a sample for each of the last changes; of those with equal labels, for the last."""
    last = {}
    for change in lock.changes(settings, CHANGES):
        names = {name: str(change.get(name) or "") for name in ("what", "release", "result")}
        last[labels(**names)] = unix_time(change["time"]) + (change.get("seconds") or 0)
    return [f"{names} {ended}" for names, ended in last.items()]


def family(name: str, help_text: str, samples: list[str]) -> list[str]:
    """Return the lines of one metric; its name tells a counter from a gauge."""
    kind = "counter" if name.endswith("_total") else "gauge"
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", *(name + s for s in samples)]


def write(settings: Settings) -> None:
    """Replace the text file, whole or not at all.

    Raises:
        OSError: the engine does not respond, or the file cannot be written.
    """
    lines: list[str] = []
    for metric, samples in of_containers(settings.stack).items():
        lines += family(f"stack_container_{metric}", CONTAINER_METRICS[metric], samples)
    lines += family(
        "stack_change_timestamp_seconds",
        "When a change of the history ended, as Unix time.",
        of_changes(settings),
    )
    settings.metrics_dir.mkdir(mode=0o755, exist_ok=True)
    unfinished = settings.metrics.with_suffix(".new")
    unfinished.write_text("\n".join([*lines, ""]), encoding="utf-8")
    unfinished.chmod(0o644)
    unfinished.replace(settings.metrics)
