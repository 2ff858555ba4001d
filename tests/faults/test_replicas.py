"""Replicas that die, hang, vanish or answer nonsense: clients see none of it."""

import http.client
import json
import random
import signal
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from faults import stack
from faults.conftest import FULL, Held
from faults.load import Client, Load, Result, fault
from security.gateway import JSON, Gateway
from security.wire import Message

pytestmark = pytest.mark.fault

READ_TIMEOUT_S = 1.0
TRIES = 3


def test_each_replica_is_killed_in_turn(load: Load, held: Held) -> None:
    with load() as result:
        for replica in stack.V1:
            # Requests between the faults: their number is wanted, not an event.
            time.sleep(6 if FULL else 0.5)
            stack.kill(replica)
            stack.await_healthy(replica)
        # And after the last one.
        time.sleep(5 if FULL else 0.5)
    held("F1", "each replica killed in turn", result, p99=True, enough=enough(result, 6000))


def enough(result: Result, number: int) -> bool:
    """Whether so many were asked, where the run is long enough for it."""
    return result.asked >= (number if FULL else 200)


def test_a_paused_replica_keeps_nobody_waiting(load: Load, held: Held) -> None:
    with load() as result:
        # Connections are warm before the fault, and a second of requests follows it.
        time.sleep(1)
        stack.run("docker", "pause", stack.container("v1-2"))
        try:
            # How long it is paused is the fault.
            time.sleep(60 if FULL else 4)
        finally:
            stack.run("docker", "unpause", stack.container("v1-2"))
        # Requests after the fault.
        time.sleep(1)
    held("F2", "one paused", result, p99=True, worst_s=READ_TIMEOUT_S + 0.25)


def test_a_stopped_process_is_replaced_by_itself(load: Load, held: Held) -> None:
    def seconds_until_replaced_after(number: signal.Signals) -> float:
        before = stack.inspect("v1-3")["State"]["Pid"]
        stack.send(number, "v1-3")
        return stack.until(
            lambda: stack.inspect("v1-3")["State"]["Pid"] not in (0, before), 60, "it is replaced"
        )

    # It hangs so soon after its start that the watch has hardly seen it answer.
    seconds_until_replaced_after(signal.SIGKILL)
    stack.await_healthy("v1-3")
    with load() as result:
        seconds = seconds_until_replaced_after(signal.SIGSTOP)
        stack.await_healthy("v1-3")
    line = json.loads(Path("/etc/faults/history.jsonl").read_text().splitlines()[-1])
    held(
        "F2",
        "one stopped by SIGSTOP",
        result,
        f"replaced after {seconds:.0f} s",
        p99=True,
        worst_s=READ_TIMEOUT_S + 0.25,
        replaced_in_30_s=not FULL or seconds <= 30,
        in_the_history=line["result"] == "restarted faults-api-v1-3",
    )


def test_two_of_three_are_killed_at_once(load: Load, held: Held) -> None:
    with load() as result:
        for _ in range(3 if FULL else 1):
            # Requests between the faults, as above.
            time.sleep(1)
            stack.kill("v1-1", "v1-3")
            stack.await_healthy("v1-1", "v1-3")
        # Requests after the last fault.
        time.sleep(1)
    held("F3", "two of three killed at once", result)


def test_without_replicas_the_answer_is_a_503_and_soon_over(
    gateway: Gateway, load: Load, held: Held
) -> None:
    """All three die again and again for 5 s; one client asks ten times a second."""
    stop, listening = threading.Event(), list[float]()

    def look_for_a_listener() -> None:
        while not stop.is_set():
            for replica in stack.V1:
                connection = http.client.HTTPConnection(stack.ADDRESS[replica], 8000, timeout=0.2)
                try:
                    connection.request("GET", "/livez")
                    if connection.getresponse().status == 200 and over.is_set():
                        listening.append(time.monotonic())
                        return
                except (OSError, http.client.HTTPException):
                    pass
                finally:
                    connection.close()
            # Finer than the second that the test allows.
            time.sleep(0.02)

    over = threading.Event()
    wrong, slowest, seen, back = list[str](), 0.0, 0, 0.0
    # One client at a time, from ever another address.
    clients = [Client(gateway, "http/1.1") for _ in range(10)]
    watcher = threading.Thread(target=look_for_a_listener, daemon=True)
    started, n = time.monotonic(), 0
    stack.kill(*stack.V1)
    killer = threading.Thread(target=kill_again_and_again, args=(started + 5, over), daemon=True)
    killer.start()
    watcher.start()
    while not back and time.monotonic() < started + 60:
        asked = time.monotonic()
        answer = clients[n % len(clients)].ask()
        n += 1
        took = time.monotonic() - asked
        if answer is None:
            continue
        if answer.status == 503:
            seen, slowest = seen + 1, max(slowest, took)
            if "json" not in answer.headers.get("content-type", "") or b"<" in answer.body:
                wrong.append(f"{answer.headers} {answer.body!r}")
            if not answer.headers.get("retry-after"):
                wrong.append("no Retry-After")
        elif text := fault(answer):
            wrong.append(text)
        elif over.is_set() and listening:
            back = time.monotonic()
        # The client's own pace, below the rate limit.
        time.sleep(max(0, 0.1 - took))
    killer.join()
    stop.set()
    watcher.join(timeout=5)
    assert not wrong, wrong[:5]
    gap = back - listening[0] if back and listening else 60.0
    held(
        "F4",
        "all three killed for 5 s",
        None,
        f"{seen} times 503, the slowest after {slowest:.2f} s; "
        f"200 again {gap:.2f} s after the first one listened",
        some_503=seen > 0,
        in_1_s=not FULL or slowest <= 1,
        back_in_1_s=not FULL or gap <= 1,
        back=back > 0,
    )


def kill_again_and_again(end: float, over: threading.Event) -> None:
    while time.monotonic() < end:
        # One may have ended in this very moment.
        with suppress(ProcessLookupError):
            stack.kill(*stack.V1)
        # The pace of the killing: a replica comes back within that.
        time.sleep(0.1)
    over.set()


def test_a_replica_behind_a_dead_link_keeps_nobody_waiting(load: Load, held: Held) -> None:
    with load() as result:
        # Connections are warm before the fault.
        time.sleep(1)
        with stack.unplugged("v1-1"):
            # Shorter than the watch needs to call it hung.
            time.sleep(8 if FULL else 3)
        # Requests after the fault.
        time.sleep(1)
    held("F5", "one replica's link down", result, p99=True, worst_s=READ_TIMEOUT_S + 0.25)


@pytest.mark.long
@pytest.mark.parametrize("how", ["slow", "reset", "close", "cut", "garbage", "502", "503"])
def test_one_replica_that_answers_nonsense_is_passed_over(load: Load, held: Held, how: str) -> None:
    with stack.misbehaving("v1-3", how):
        result = load.during(8)
    held("F6", f"one replica answers: {how}", result, worst_s=READ_TIMEOUT_S + 0.25)


@pytest.mark.long
def test_a_500_is_an_answer(load: Load, held: Held) -> None:
    with stack.misbehaving("v1-3", "500"):
        result = load.during(8)
    share = result.statuses[500] / max(1, result.asked)
    kinds = {text.split(" b'")[0] for text in result.failures}
    held(
        "F6",
        "one replica answers: 500",
        None,
        f"{result.statuses[500]} of {result.asked} answers are its 500",
        # A third, were it the balance alone: it is not retried, and not more.
        a_third=0.2 < share < 0.45,
        json=kinds == {"500 application/json"},
        others_fine=result.failed == result.statuses[500],
    )


@pytest.mark.long
def test_idle_connections_between_gateway_and_replicas_never_race(
    gateway: Gateway, held: Held
) -> None:
    """200 clients ask at once, with pauses around the 4 s after which the gateway closes."""
    result, clients = Result(), [Client(gateway, "http/1.1") for _ in range(200)]
    lock = threading.Lock()

    def ask(client: Client) -> None:
        started = time.monotonic()
        try:
            answer = client.ask()
            wrong = fault(answer) if answer else ""
        except OSError as error:
            answer, wrong = None, repr(error)
        with lock:
            result.seconds.append(time.monotonic() - started)
            result.raced += answer is None and not wrong
            if wrong:
                result.failures[wrong] += 1

    for _ in range(10):
        threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        # The gap is what the test is about.
        time.sleep(random.uniform(3.8, 4.2))
    for client in clients:
        client.close()
    held("F7", "pauses around the idle time-out", result, enough=result.asked >= 2000)


@pytest.mark.long
def test_without_v2_debug_gets_a_503_and_v1_goes_on(load: Load, held: Held) -> None:
    stack.run("docker", "stop", stack.container("v2-1"))
    try:
        with load() as result, load(clients=4, debug=True) as debug:
            # Long enough for a few hundred requests.
            time.sleep(6)
    finally:
        stack.run("docker", "start", stack.container("v2-1"))
    kinds = {text.split(" b'")[0] for text in debug.failures}
    held(
        "F14",
        "v2 dead",
        result,
        f"debug: {debug.failed} of {debug.asked} answered 503, the slowest after "
        f"{debug.share_ms(1):.0f} ms",
        all_503=kinds == {"503 application/json"} and debug.failed == debug.asked,
    )


@pytest.mark.long
def test_a_poison_request_kills_no_more_replicas_than_it_has_tries(
    gateway: Gateway, load: Load, held: Held
) -> None:
    fields = (JSON, gateway.authorization)
    poison = Message("POST", "/predict", fields, b'{"sentence": "a poison"}')
    names = [f"{stack.NAME}-fake-{replica}" for replica in stack.V1]
    with ExitStack() as stacked:
        for replica in stack.V1:
            stacked.enter_context(stack.misbehaving(replica, "poison"))
        with load(clients=20) as result:
            # The load before the poison.
            time.sleep(2)
            answer = gateway.ask(poison)
            # The load after it.
            time.sleep(6)
        counts = stack.run("docker", "inspect", "--format", "{{.RestartCount}}", *names)
        deaths = sum(map(int, counts.split()))
        after = load.during(2, clients=10)
    held(
        "F16",
        "a request that kills its replica",
        None,
        f"answered {answer.status}; {deaths} deaths of at most {TRIES}; others: {result}",
        bounded=0 < deaths <= TRIES,
        an_error=answer.status == 503,
        back=not after.failures,
    )
