"""Time-outs and limits, from the cost in a model's card."""

import json
from typing import Any

import pytest

from api.schema import MAX_BATCH
from api.worker import MAX_WAITING
from plugins.filter.cost import (
    LONGEST,
    ROUNDS,
    cost_problems,
    megabytes,
    read_timeout,
    retry_timeout,
    timeout_problems,
    with_seconds,
)


def card(**cost: Any) -> str:
    return json.dumps({"name": "m", "cost": cost})


def taking(*seconds: float) -> list[dict[str, Any]]:
    return [{"service": "v1", "seconds": each} for each in seconds]


def seconds_of(text: str | None, cpus: float = 1.0) -> float:
    replicas, services = [{"service": "v1"}], [{"name": "v1"}]
    (found,) = with_seconds(replicas, services, {"m": text}, "m", cpus)
    seconds: float = found["seconds"]
    return seconds


@pytest.mark.parametrize(
    "text", [None, "", "{}", "[]", "no JSON", '{"cost": null}', '{"cost": {"memory_mb": "much"}}']
)
def test_a_card_without_cost_leaves_the_times_of_a_fast_model(text: str | None) -> None:
    replicas = taking(seconds_of(text))
    assert (read_timeout(replicas), retry_timeout(replicas)) == ("1s", "5s")
    assert timeout_problems("1s", replicas) == cost_problems(text, "256M") == []


def test_each_replica_gets_the_longest_call_of_its_own_model() -> None:
    services = [{"name": "v1"}, {"name": "v2", "model_dir": "two"}]
    replicas = [{"service": "v1", "name": "v1-1"}, {"service": "v2", "name": "v2-1"}]
    cards = {
        "one": card(milliseconds_per_batch=1300, milliseconds_per_sentence=21),
        "two": card(milliseconds_per_batch=5, milliseconds_per_sentence=21),
    }
    assert with_seconds(replicas, services, cards, "one") == [
        {"service": "v1", "name": "v1-1", "seconds": 1.3},
        {"service": "v2", "name": "v2-1", "seconds": 0.021},
    ]


@pytest.mark.parametrize(("cpus", "seconds"), [(0.5, 2.6), (1.0, 1.3), (4.0, 1.3)])
def test_part_of_a_core_takes_longer_and_more_cores_no_less(cpus: float, seconds: float) -> None:
    assert seconds_of(card(milliseconds_per_batch=1300), cpus) == seconds


@pytest.mark.parametrize(
    ("seconds", "read", "retry"),
    [
        ([], "1s", "5s"),
        ([0.125], "1s", "5s"),
        ([0.126], "2s", "3s"),
        ([0.0, 1.3, 0.5], "11s", "12s"),
        ([3.75], "30s", "31s"),
        ([100.0], "30s", "31s"),
    ],
)
def test_times_follow_from_the_longest_call(seconds: list[float], read: str, retry: str) -> None:
    replicas = taking(*seconds)
    assert (read_timeout(replicas), retry_timeout(replicas)) == (read, retry)


def test_replicas_of_another_maker_are_fast() -> None:
    assert read_timeout([{"service": "v1", "address": "172.28.7.21"}]) == "1s"


@pytest.mark.parametrize("seconds", [0.126, 0.5, 1.3, 3.75, 7.5])
def test_a_slow_answer_is_passed_on_once(seconds: float) -> None:
    read = int(read_timeout(taking(seconds))[:-1])
    # Nginx passes on while less than this has passed since the first try. Two replicas that cannot
    # be reached cost 300 ms each.
    assert read + 0.6 < int(retry_timeout(taking(seconds))[:-1]) < 2 * read


def test_a_request_waits_for_no_more_rounds_than_the_gateway_does() -> None:
    # In a full queue, two rounds in a row hold more than MAX_BATCH; one more is being computed.
    assert ROUNDS == 1 + 2 * MAX_WAITING // MAX_BATCH - 1


@pytest.mark.parametrize("timeout", ["5s", "5200ms", "1m", "1h"])
def test_a_time_out_that_suffices_is_taken(timeout: str) -> None:
    assert timeout_problems(timeout, taking(1.25)) == []


@pytest.mark.parametrize(
    ("timeout", "seconds", "remedy"),
    [("4s", 1.3, "11s"), ("999ms", 0.25, "2s"), (f"{LONGEST}s", 7.6, "61s")],
)
def test_a_time_out_that_is_too_short_is_refused(timeout: str, seconds: float, remedy: str) -> None:
    (problem,) = timeout_problems(timeout, taking(seconds))
    assert problem.startswith(f"nginx_read_timeout ({timeout})")
    assert f"set nginx_read_timeout to {remedy}" in problem
    assert "make use-model" in problem
    # What it asks for is enough.
    assert timeout_problems(remedy, taking(seconds)) == []


def test_a_model_larger_than_a_replica_is_refused_with_the_limit_that_would_do() -> None:
    assert cost_problems(card(memory_mb=256), "256M") == []
    (problem,) = cost_problems(card(memory_mb=257), "256M")
    assert problem.startswith("api_memory (256M) is less than the 257 MB")
    assert "set api_memory to 384M" in problem
    assert "make use-model" in problem
    assert cost_problems(card(memory_mb=257), "384M") == []


def test_a_sentence_that_outlasts_the_health_check_is_refused() -> None:
    assert cost_problems(card(milliseconds_per_sentence=1000), "256M") == []
    (problem,) = cost_problems(card(milliseconds_per_sentence=600), "256M", 0.5)
    assert "1.2 s for one sentence" in problem
    assert "set api_cpus to 1.0" in problem
    (problem,) = cost_problems(card(milliseconds_per_sentence=1200), "256M", 2.0)
    assert "set api_cpus" not in problem


@pytest.mark.parametrize(
    ("text", "size"),
    [("256M", 256), ("256m", 256), ("1G", 1024), ("1.5g", 1536), ("268435456", 256), ("64mb", 64)],
)
def test_limits_are_read_as_docker_reads_them(text: str, size: int) -> None:
    assert megabytes(text) == size


def test_what_is_no_limit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"api_memory \(lots\) is no memory limit"):
        cost_problems(card(memory_mb=1), "lots")
