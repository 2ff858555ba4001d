"""The stack's containers: their state and health, and how they start and stop together."""

import subprocess
import sys
import time
from dataclasses import dataclass

from . import engine
from .engine import Record
from .settings import Settings

# Ends of the names of containers that exist for the time of a run only: the replica that a rollout
# has replaced, those that try a new image or certificate, and what serves while the gateway is
# replaced.
BEFORE, CERTIFICATE_TEST = "-before", "-certificate-test"
TEMPORARY = (BEFORE, "-candidate", "-stand-in", CERTIFICATE_TEST)
# Seconds that a group of containers may take until each is healthy.
START_SECONDS = 180
# Seconds that one health check may take, unless the container's own timeout is longer.
CHECK_SECONDS = 30


@dataclass(frozen=True)
class Container:
    """One container as `status --json` shows it; `service` is v1 or v2 for a replica."""

    name: str
    component: str
    service: str | None
    image: str
    model: str | None
    state: str
    # healthy, unhealthy, starting; none without a health check, - unless it runs.
    health: str
    # When it started, or when it ended.
    since: str
    restarts: int

    @property
    def is_healthy(self) -> bool:
        """Tell whether it runs and, where it has a health check, passes it."""
        return self.state == "running" and self.health in ("healthy", "none")


def name_of(record: Record) -> str:
    """Return a container's name, which the engine gives a slash."""
    return str(record["Name"]).lstrip("/")


def is_ready(record: Record) -> bool:
    """Tell whether a container is healthy; unless the engine knows so, run its check now."""
    state, known = record["State"], record["Config"].get("Healthcheck") or {}
    check = known.get("Test") or ["NONE"]
    if not state["Running"] or check[0] != "CMD":
        return bool(state["Running"])
    if state.get("Health", {}).get("Status") == "healthy":
        return True
    # A check that is given up goes on in the container and takes from the next one's CPU time. The
    # engine counts in nanoseconds.
    seconds = max(CHECK_SECONDS, known.get("Timeout", 0) / 1e9)
    return engine.succeeds("docker", "exec", record["Id"], *check[1:], timeout=seconds)


def describe(record: Record) -> Container:
    """Return what people read of a container."""
    state, labels = record["State"], record["Config"]["Labels"]
    health = state.get("Health", {}).get("Status", "none")
    if health == "starting" and is_ready(record):
        health = "healthy"
    return Container(
        name=name_of(record),
        component=labels["stack.component"],
        service=labels.get("stack.variant"),
        image=record["Config"]["Image"],
        model=labels.get("stack.model"),
        state=state["Status"],
        health=health if state["Running"] else "-",
        since=(state["StartedAt"] if state["Running"] else state["FinishedAt"])[:19] + "Z",
        restarts=record["RestartCount"],
    )


def find(settings: Settings) -> list[Container]:
    """Return the stack's containers by name, without those of a run that is under way."""
    return [each for each in find_all(settings) if not each.name.endswith(TEMPORARY)]


def find_all(settings: Settings) -> list[Container]:
    """Return every container of the stack by name, those of a run that was cut off included."""
    found = [describe(record) for record in engine.records(settings.stack)]
    return sorted(found, key=lambda container: container.name)


def in_order(found: list[Container]) -> list[list[Container]]:
    """Return containers in the order to start them: replicas, gateway, rest."""
    rank = {"api": 0, "nginx": 1}
    groups: list[list[Container]] = [[], [], []]
    for container in found:
        groups[rank.get(container.component, 2)].append(container)
    return groups


def unready_after(seconds: float, names: list[str]) -> list[str]:
    """Wait until each is ready; return the names of those that are not after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        unready = [name_of(record) for record in engine.inspect(names) if not is_ready(record)]
        now = time.monotonic()
        if not unready or now >= deadline:
            return unready
        # A check is a process in the container and slows its start-up: pause as long as the checks
        # took. The last look is at the deadline.
        time.sleep(min(now - asked, deadline - now))


def wait(seconds: float, names: list[str]) -> None:
    """Wait until each is ready; exit with the names of those that are not after so many seconds."""
    if unready := unready_after(seconds, names):
        sys.exit(f"not healthy after {seconds:g} s: {', '.join(unready)}")


def start(settings: Settings) -> None:
    """Start what does not run, group by group; exit with the names of those that stay unhealthy.

    They do not hold up the next group: the gateway passes over a replica that does not respond.
    """
    unready: list[str] = []
    for group in in_order(find(settings)):
        names = [c.name for c in group if c.state != "running"]
        if names:
            # It starts those that it can, and prints why it cannot start the others.
            subprocess.run(["docker", "start", *names], stdout=subprocess.DEVNULL, check=False)
        unready += unready_after(START_SECONDS, [c.name for c in group])
        for name in names:
            if name not in unready:
                print(f"started {name}", flush=True)
    if unready:
        sys.exit(f"not healthy after {START_SECONDS:g} s: {', '.join(unready)}")


def stop(settings: Settings) -> None:
    """Stop the gateway first, so that requests in flight end while their replicas still run."""
    replicas, gateway, rest = in_order(find_all(settings))
    for group in (gateway, replicas + rest):
        names = [c.name for c in group if c.state in ("running", "paused", "restarting")]
        if names:
            # Without a time: each container was made with its own.
            engine.run("docker", "stop", *names)
        for name in names:
            print(f"stopped {name}", flush=True)


def roll_back(settings: Settings) -> None:
    """Give each replica that a rollout has replaced its old container again, one by one."""
    for record in engine.records(settings.stack):
        before = name_of(record)
        if before.endswith(BEFORE):
            name = before.removesuffix(BEFORE)
            # The rollout may have failed before it made a new one.
            engine.succeeds("docker", "rm", "--force", name)
            engine.run("docker", "rename", before, name)
            engine.run("docker", "start", name)
            wait(START_SECONDS, [name])
            print(f"rolled back {name}", flush=True)


def forget_replaced(settings: Settings) -> None:
    """Remove the containers that a rollout has replaced."""
    for record in engine.records(settings.stack):
        if name_of(record).endswith(BEFORE):
            engine.run("docker", "rm", "--force", record["Id"])
