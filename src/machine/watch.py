"""The watch restarts replicas that hang, and writes the metrics of the containers.

The engine restarts what ends, never what hangs. Every few seconds the watch asks each replica's
/livez, past the gateway; one that no longer starts and fails three times in a row is restarted. It
starts until it takes connections: a replica listens once it can serve. One at a time, and none
while a run of Ansible changes the stack. A paused container is left alone: an operator paused it.
Each restart is a line of the history.
"""

import concurrent.futures
import http.client
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

from . import engine, lock, metrics
from .settings import Settings

PORT = 8000
FAILURES = 3
# Seconds that one response may take, between two rounds, and that a replica has to finish requests.
TIMEOUT, PAUSE, STOP = 3, 2, 1
# Seconds after which a replica that never listened does not start any more, but hangs.
START = 120
# Seconds between two writings of the metrics: as often as Prometheus scrapes.
METRICS_EVERY = 15
# What the engine's list shows of a container whose start is at most two minutes ago.
YOUNG = re.compile(r"Up (Less than a second|[0-9]+ seconds?|About a minute)\b")


class Replica(NamedTuple):
    """A running container, told apart from the same one after a restart."""

    name: str
    id: str
    address: str
    started: str

    def age(self) -> float:
        """Return the seconds since its start."""
        return time.time() - metrics.unix_time(self.started)


def running(stack: str, before: list[Replica]) -> list[Replica]:
    """Return the replicas that run; `before` is what the last call returned.

    The list does not tell when a container was started. That takes another request for each, so it
    is asked only of new and young ones.
    """
    known = {replica.id: replica.started for replica in before}
    found = []
    for item in engine.listed(stack, "stack.component=api", status=["running"]):
        network = item["NetworkSettings"]["Networks"].get(stack)
        # A candidate has no network.
        if network and network["IPAddress"]:
            name, key = item["Names"][0].lstrip("/"), item["Id"]
            if key not in known or YOUNG.match(item["Status"]):
                state = engine.request("GET", f"/containers/{key}/json")["State"]
                known[key] = state["StartedAt"]
            found.append(Replica(name, key, network["IPAddress"], known[key]))
    return found


def probe(replica: Replica) -> tuple[bool, bool]:
    """Tell whether a replica takes a connection, and whether its response is 200."""
    connection = http.client.HTTPConnection(replica.address, PORT, timeout=TIMEOUT)
    listens = False
    try:
        connection.connect()
        listens = True
        connection.request("GET", "/livez")
        return True, connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return listens, False
    finally:
        connection.close()


class Watch:
    """What the watch remembers from round to round."""

    def __init__(self, settings: Settings, self_healing: bool) -> None:
        self.settings, self.self_healing = settings, self_healing
        self.replicas: list[Replica] = []
        # Failures in a row of those that do not start any more.
        self.failures: dict[Replica, int] = {}
        self.reported = ""
        self.metrics_due = 0.0
        self.pool = concurrent.futures.ThreadPoolExecutor(16)

    def round(self) -> None:
        """Look once; restart a replica that hangs, and write the metrics when they are due."""
        try:
            self.probe_all()
            hung = [replica for replica, count in self.failures.items() if count >= FAILURES]
            if self.self_healing and hung and not lock.current(self.settings):
                self.restart(hung[0])
            if time.monotonic() >= self.metrics_due:
                metrics.write(self.settings)
                self.metrics_due = time.monotonic() + METRICS_EVERY
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            # The engine restarts, or a container went away in this moment, which the engine reports
            # in many ways; none is a reason to stop watching.
            if str(error) != self.reported:
                print(f"cannot look: {error}", flush=True)
                self.reported = str(error)

    def probe_all(self) -> None:
        """Ask every replica, all at once, and count the failures of each."""
        self.replicas = running(self.settings.stack, self.replicas)
        self.failures = {r: count for r, count in self.failures.items() if r in self.replicas}
        probes = self.pool.map(probe, self.replicas)
        for replica, (listens, healthy) in zip(self.replicas, probes, strict=True):
            if healthy:
                self.failures[replica] = 0
            elif listens or replica in self.failures or replica.age() > START:
                self.failures[replica] = self.failures.get(replica, 0) + 1

    def restart(self, replica: Replica) -> None:
        """Restart a replica and add that to the history."""
        who = f"{self.settings.stack}-watch"
        change = {"since": time.time(), "what": "self-healing", "who": who, "commit": None}
        engine.request("POST", f"/containers/{replica.id}/restart?t={STOP}")
        lock.add(self.settings, change, f"restarted {replica.name}")
        print(f"restarted {replica.name}: it failed {FAILURES} times in a row", flush=True)


def versions(paths: list[Path]) -> list[tuple[int, int]]:
    """Return what differs once a file was replaced; nothing for a file that is missing."""
    states = [path.stat() for path in paths if path.exists()]
    return [(state.st_ino, state.st_mtime_ns) for state in states]


def run(settings: Settings, files: list[Path]) -> None:
    """Watch for ever; when one of the files (program, settings) is replaced, start anew from it."""
    first = versions(files)
    watch = Watch(settings, json.loads(settings.watch.read_text())["self_healing"])
    while True:
        watch.round()
        # The pace of the probes: each costs the replicas a little.
        time.sleep(PAUSE)
        now = versions(files)
        if len(now) == len(files) and now != first:
            print("program or settings have changed: starting anew", flush=True)
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606
