"""Ten minutes at a steady rate: nothing fails and nothing grows."""

import time
from pathlib import Path

import pytest

from faults import stack
from faults.conftest import Held
from faults.load import Load

pytestmark = [pytest.mark.fault, pytest.mark.long]

SECONDS, RATE, CLIENTS = 600, 100, 40
NAMES = ("nginx", *stack.REPLICAS)


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in descendants(int(child)))]


def usage(name: str) -> tuple[int, int]:
    """Return resident memory in kB, and the number of open descriptors."""
    memory = descriptors = 0
    for pid in descendants(stack.inspect(name)["State"]["Pid"]):
        memory += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4
        descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return memory, descriptors


def test_ten_minutes_at_100_requests_a_second(load: Load, held: Held) -> None:
    # Warm: each worker and replica has its connections and buffers.
    load.during(30, clients=CLIENTS, pace_s=CLIENTS / RATE)
    with load(clients=CLIENTS, pace_s=CLIENTS / RATE) as result:
        # No event to wait for: until every client has its connection again.
        time.sleep(5)
        before = {name: usage(name) for name in NAMES}
        # The length of the test is what it is about.
        time.sleep(SECONDS)
        after = {name: usage(name) for name in NAMES}
    growth = {name: after[name][0] / before[name][0] - 1 for name in NAMES}
    more = {name: after[name][1] - before[name][1] for name in NAMES}
    worst = max(growth, key=lambda name: growth[name])
    held(
        "F17",
        f"{SECONDS // 60} minutes at {RATE} a second",
        result,
        f"memory of {worst} {100 * growth[worst]:+.1f} %, the others less; descriptors "
        f"{max(more.values()):+d} at most",
        memory_flat=growth[worst] < 0.05,
        descriptors_flat=max(more.values()) <= 4,
    )
