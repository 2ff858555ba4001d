"""Each alert that a fault should raise is raised in its time, and goes when the fault has gone."""

import json
import random
import signal
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import direct
from faults import stack
from faults.conftest import Held
from security.gateway import JSON, SENTENCE, Gateway
from security.wire import Message

pytestmark = [pytest.mark.fault, pytest.mark.long]

PROMETHEUS = f"http://127.0.0.1:{stack.VARIABLES['stack_prometheus_port']}"
# What an alert needs beside its own time: a scrape, an evaluation of a figure that is made each
# minute and of the alert itself, and a busy machine.
SCRAPE_S, RECORDED_S, SLACK_S = 15, 60, 30

# Name -> seconds that its rule waits, and seconds after which it goes when the fault has gone.
SECONDS = {
    "ReplicaDown": (60, 0),
    "NoReplica": (15, 0),
    "GatewayDown": (30, 0),
    "ReplicaWasHung": (0, 600),
    "PasswordsGuessed": (0, 300),
    "RateLimitSurge": (0, 300),
    "ErrorBudgetBurnsFast": (RECORDED_S, 300 + RECORDED_S),
    "LabelsDrift": (600 + RECORDED_S, RECORDED_S),
    "CoverageDrifts": (600 + RECORDED_S, RECORDED_S),
}


class Alerts:
    """What Prometheus says, looked at each second: when each alert was raised, and when it went."""

    def __init__(self) -> None:
        self.raised: dict[str, list[float]] = {}
        self.gone: dict[str, list[float]] = {}
        self.due: dict[str, float] = {}

    def look(self, before: set[str]) -> set[str]:
        with direct.open_url(f"{PROMETHEUS}/api/v1/alerts", timeout=10) as answer:
            alerts: list[dict[str, Any]] = json.load(answer)["data"]["alerts"]
        firing = {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}
        for name in firing - before:
            self.raised.setdefault(name, []).append(time.monotonic())
        for name in before - firing:
            self.gone.setdefault(name, []).append(time.monotonic())
        return firing

    def await_raised(self, name: str, since: float) -> float:
        """Return the seconds from the fault to the alert."""
        most = SECONDS[name][0] + 2 * SCRAPE_S + SLACK_S
        stack.until(lambda: later(self.raised, name, since), since + most - time.monotonic(), name)
        return later(self.raised, name, since)[0] - since

    def await_gone(self, name: str, since: float) -> float:
        most = SECONDS[name][1] + 2 * SCRAPE_S + SLACK_S
        what = f"{name} goes"
        stack.until(lambda: later(self.gone, name, since), since + most - time.monotonic(), what)
        return later(self.gone, name, since)[0] - since


def later(times: dict[str, list[float]], name: str, since: float) -> list[float]:
    return [moment for moment in times.get(name, []) if moment >= since]


@contextmanager
def watched() -> Iterator[Alerts]:
    alerts, stop = Alerts(), threading.Event()

    def work() -> None:
        firing: set[str] = set()
        while not stop.wait(1):
            firing = alerts.look(firing)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield alerts
    finally:
        stop.set()
        thread.join(timeout=15)


def every_replica_is_scraped() -> bool:
    with direct.open_url(f"{PROMETHEUS}/api/v1/targets?state=active", timeout=10) as answer:
        targets = json.load(answer)["data"]["activeTargets"]
    replicas = [t["health"] for t in targets if t["labels"]["job"] == "api"]
    return replicas == ["up"] * len(stack.REPLICAS)


def predict_all(gateway: Gateway, sentences: list[str]) -> None:
    """Have them judged in batches, two from an address, which is what its budget allows."""
    head = ("POST", "/predict/batch", (JSON, gateway.authorization))
    parts = [sentences[n : n + 64] for n in range(0, len(sentences), 64)]
    batches = [Message(*head, json.dumps({"sentences": part}).encode()) for part in parts]
    for n in range(0, len(batches), 2):
        assert {answer.status for answer in gateway.at_once(batches[n : n + 2])} == {200}


def golden() -> dict[str, list[str]]:
    """Return the model card's sentences by what the model says of them, of usual words only."""
    found: dict[str, list[str]] = {}
    for answer in json.loads((stack.ROOT / "model/model.json").read_text())["golden"]:
        sentence = answer["sentence"]
        if sentence.isascii() and len(sentence.split()) >= 5:
            found.setdefault(answer["prediction"], []).append(sentence)
    return found


def as_on_the_card(number: int) -> list[str]:
    """Return sentences whose labels and coverage are about those of the card."""
    sentences, card = golden(), json.loads((stack.ROOT / "model/model.json").read_text())
    shares = {label: card["reference"]["labels"][label] for label in sentences}
    generator = random.Random(1)  # noqa: S311
    labels = generator.choices(list(shares), list(shares.values()), k=number)
    partly = card["reference"]["coverage"]["0.9"]
    return [
        # A word that no model knows lowers the coverage.
        generator.choice(sentences[label]) + (" qzxvw" if generator.random() < partly else "")
        for label in labels
    ]


def test_faults_raise_their_alerts_and_these_go_again(gateway: Gateway, held: Held) -> None:
    seconds: dict[str, tuple[float, float]] = {}
    with watched() as alerts:
        # What is asked before the first scrape is no increase.
        stack.until(every_replica_is_scraped, 60, "Prometheus asks every replica")
        # At once: texts of another kind, guesses, too many requests, a hung replica, two dead ones.
        # What the two have counted since the last scrape ends with them, so more than 500 texts.
        drift = time.monotonic()
        predict_all(gateway, ["qzxvw wrtplk"] * 24 * 64)
        burst = time.monotonic()
        wrong = (JSON, (b"Authorization", b"Basic " + b64encode(b"admin:a guess")))
        gateway.ask_all("h2", [Message("POST", "/predict", wrong, SENTENCE)] * 150)
        for _ in range(5):
            gateway.at_once([gateway.predict()] * 100)
        hung = time.monotonic()
        before = stack.inspect("v1-3")["State"]["Pid"]
        stack.send(signal.SIGSTOP, "v1-3")
        stack.until(
            lambda: stack.inspect("v1-3")["State"]["Pid"] not in (0, before), 60, "it is replaced"
        )
        healed = time.monotonic()
        stack.run("docker", "stop", stack.container("v1-2"), stack.container("v2-1"))
        dead = time.monotonic()
        raised = {
            name: alerts.await_raised(name, since)
            for name, since in {
                **{"NoReplica": dead, "PasswordsGuessed": burst, "RateLimitSurge": burst},
                **{"ReplicaWasHung": hung, "ReplicaDown": dead},
            }.items()
        }
        stack.run("docker", "start", stack.container("v1-2"), stack.container("v2-1"))
        back = time.monotonic()
        gone = {name: alerts.await_gone(name, back) for name in ("NoReplica", "ReplicaDown")}

        # No replica at all while clients ask, then no gateway.
        failing = time.monotonic()
        stack.run("docker", "stop", *map(stack.container, stack.V1))
        gateway.ask_all("h2", [gateway.predict()] * 30)
        stack.run("docker", "start", *map(stack.container, stack.V1))
        mended = time.monotonic()
        raised["ErrorBudgetBurnsFast"] = alerts.await_raised("ErrorBudgetBurnsFast", failing)
        stack.await_healthy()
        closed = time.monotonic()
        stack.run("docker", "stop", stack.container("nginx"))
        raised["GatewayDown"] = alerts.await_raised("GatewayDown", closed)
        stack.run("docker", "start", stack.container("nginx"))
        gone["GatewayDown"] = alerts.await_gone("GatewayDown", time.monotonic())

        # Good requests outweigh the failed ones within the hour, and the odd texts.
        for name in ("LabelsDrift", "CoverageDrifts"):
            raised[name] = alerts.await_raised(name, drift)
        predict_all(gateway, as_on_the_card(30 * 640))
        usual_again = time.monotonic()
        for name in ("LabelsDrift", "CoverageDrifts"):
            gone[name] = alerts.await_gone(name, usual_again)
        for name, since in {
            **{"PasswordsGuessed": burst, "RateLimitSurge": burst, "ReplicaWasHung": healed},
            "ErrorBudgetBurnsFast": mended,
        }.items():
            gone[name] = alerts.await_gone(name, since)
    seconds = {name: (raised[name], gone[name]) for name in SECONDS}
    for name, (up, down) in seconds.items():
        held(
            "F18",
            f"alert {name}",
            None,
            f"raised {up:.0f} s after the fault, gone {down:.0f} s after its end",
        )
