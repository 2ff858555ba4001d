"""What a model's measured cost means for time-outs and limits: pure functions on model cards.

A card (model.json) may have a `cost`: {milliseconds_per_sentence, milliseconds_per_batch,
memory_mb, start_seconds}. Without one the time-outs are those of a fast model.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Replica = Mapping[str, Any]

# The calls of the predictor that a request waits for at most (MAX_WAITING in src/api/worker.py),
# and how much slower each may be on a busy machine than where it was measured.
ROUNDS, HEADROOM = 4, 2
# Bounds of the gateway's time-out, in seconds. A replica has 15 to finish when it is stopped, and
# few clients wait longer than the upper one.
SHORTEST, LONGEST = 1, 30
RETRY = 5
# A readiness check asks for one sentence and has two seconds for it (src/api/healthcheck.sh).
SLOWEST_SENTENCE_MS = 1000

TIMES = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
SIZES = {"b": 1, "": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def card_cost(card: str | None) -> dict[str, float]:
    """Return the `cost` of a card's text; empty where there is none, or no readable card."""
    try:
        found: Any = json.loads(card or "")["cost"]
        return {name: float(value) for name, value in found.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def call_seconds(card: str | None, cpus: float = 1.0) -> float:
    """Return the seconds of the model's longest call, a batch or one sentence; 0 if unknown.

    Args:
        card: text of the model's card.
        cpus: CPU limit of a replica, in cores; a call uses one at most.
    """
    cost = card_cost(card)
    names = ("milliseconds_per_batch", "milliseconds_per_sentence")
    return max(cost.get(name, 0.0) for name in names) / 1000 / min(cpus, 1.0)


def with_seconds(
    replicas: Iterable[Replica],
    services: Iterable[Mapping[str, Any]],
    cards: Mapping[str, str | None],
    model_dir: str,
    cpus: float = 1.0,
) -> list[dict[str, Any]]:
    """Return the replicas, each with the `seconds` of its model's longest call.

    Args:
        replicas: entries with a `service`.
        services: entries of `api_services`.
        cards: folder of a model -> text of its card.
        model_dir: folder of a service that has none of its own.
        cpus: CPU limit of a replica, in cores.
    """
    seconds = {
        service["name"]: call_seconds(cards.get(service.get("model_dir", model_dir)), cpus)
        for service in services
    }
    return [{**replica, "seconds": seconds[replica["service"]]} for replica in replicas]


def read_timeout(replicas: Iterable[Replica]) -> str:
    """Return how long the gateway waits for a replica, as Nginx writes it."""
    seconds = ROUNDS * HEADROOM * _slowest(replicas)
    return f"{min(max(math.ceil(seconds), SHORTEST), LONGEST)}s"


def retry_timeout(replicas: Iterable[Replica]) -> str:
    """Return until when the gateway passes a request on to another replica, as Nginx writes it.

    For a slow model it ends right after the first read time-out: a replica that cannot be reached
    or closes the connection is passed over at any time before, one that does not answer once.
    """
    patience = int(read_timeout(replicas).removesuffix("s"))
    return f"{RETRY if patience == SHORTEST else patience + 1}s"


def timeout_problems(timeout: str, replicas: Iterable[Replica]) -> list[str]:
    """Return a sentence if a time-out of the gateway is too short for a model.

    Args:
        timeout: as Nginx writes it: a whole number with ms, s, m or h.
        replicas: what `with_seconds` returned.
    """
    seconds = _slowest(replicas)
    number, unit = re.findall(r"[0-9]+|[a-z]+", timeout)
    if int(number) * TIMES[unit] >= ROUNDS * seconds:
        return []
    return [
        f"nginx_read_timeout ({timeout}) is too short: the model takes {seconds:.3g} s for its "
        f"longest call (a batch, or one sentence), and a request waits for up to {ROUNDS} of them. "
        "Choose a faster model (`make use-model` shows what a model costs), or set "
        f"nginx_read_timeout to {math.ceil(ROUNDS * HEADROOM * seconds)}s."
    ]


def _slowest(replicas: Iterable[Replica]) -> float:
    return max((replica.get("seconds", 0.0) for replica in replicas), default=0.0)


def cost_problems(card: str | None, memory: str, cpus: float = 1.0) -> list[str]:
    """Return a sentence for each limit of a replica that a model does not fit.

    Args:
        card: text of its card.
        memory: memory limit of a replica as Docker takes it: `256M`, `1g`.
        cpus: CPU limit of a replica, in cores.
    """
    cost = card_cost(card)
    problems = []
    needed = cost.get("memory_mb", 0.0)
    if needed and needed > megabytes(memory):
        # A quarter more, for the requests that are under way.
        problems.append(
            f"api_memory ({memory}) is less than the {needed:.0f} MB that the model "
            f"takes: set api_memory to {math.ceil(needed * 1.25 / 64) * 64}M, or choose a smaller "
            "model (`make use-model` shows what a model takes)."
        )
    sentence_ms = cost.get("milliseconds_per_sentence", 0.0) / min(cpus, 1.0)
    if sentence_ms > SLOWEST_SENTENCE_MS:
        problems.append(
            f"The model takes {sentence_ms / 1000:.3g} s for one sentence with api_cpus {cpus:g}, "
            "so a replica would fail its health check: choose a faster model "
            "(`make use-model` shows what a model takes)"
            + (", or set api_cpus to 1.0." if cpus < 1 else ".")
        )
    return problems


def megabytes(memory: str) -> float:
    """Return a memory limit of Docker in MB (2^20 bytes).

    Raises:
        ValueError: it is not a number with b, k, m or g; the message says how it is written.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([bkmg]?)b?", str(memory).strip().lower())
    if found is None:
        raise ValueError(f"api_memory ({memory}) is no memory limit: write it like 256M or 1G")
    return float(found[1]) * SIZES[found[2]] / SIZES["m"]


class FilterModule:
    """What Ansible looks for in a file of filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "with_seconds": with_seconds,
            "read_timeout": read_timeout,
            "retry_timeout": retry_timeout,
            "timeout_problems": timeout_problems,
            "cost_problems": cost_problems,
        }
