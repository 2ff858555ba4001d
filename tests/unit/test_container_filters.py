"""Containers: their options and identity, and what becomes of each that is found."""

import json
from typing import Any

import pytest

from plugins.filter.containers import (
    changed_services,
    config_hash,
    container_options,
    replica_containers,
    run_arguments,
    running,
    to_replace,
    to_run,
    unhealthy,
)

COMMON: dict[str, Any] = {
    "network_mode": "net",
    "user": "7:7",
    "read_only": True,
    "cap_drop": ["ALL"],
    "labels": {"stack": "x"},
}
WEB: dict[str, Any] = {
    "name": "x-web-1",
    "component": "web",
    "image": "web:2",
    "address": "10.0.0.2",
    "memory": "64M",
    "cpus": 0.5,
    "pids_limit": 32,
}


def found(wanted: dict[str, Any] = WEB, **differs: Any) -> dict[str, Any]:
    """Return what the survey prints of a container that runs as it is wanted, but for `differs`."""
    options = container_options(wanted, COMMON)
    return {
        "name": options["name"],
        "component": wanted["component"],
        "service": wanted.get("service", ""),
        "config": options["labels"]["stack.config"],
        "image": options["image"],
        "image_id": "sha256:2",
        "image_now": "sha256:2",
        "state": "running",
        "health": "healthy",
        **differs,
    }


def test_options_are_those_of_all_then_its_own() -> None:
    options = container_options(WEB, COMMON)
    label = options["labels"].pop("stack.config")
    assert len(label) == 12
    assert options == {
        "name": "x-web-1",
        "hostname": "web",
        "image": "web:2",
        "network_mode": "net",
        "networks": [{"name": "net", "ipv4_address": "10.0.0.2"}],
        "user": "7:7",
        "read_only": True,
        "cap_drop": ["ALL"],
        "memory": "64M",
        "memory_swap": "64M",
        "cpus": 0.5,
        "pids_limit": 32,
        "labels": {"stack": "x", "stack.component": "web"},
    }
    assert container_options(WEB | {"user": "8:8"}, COMMON)["user"] == "8:8"


def test_without_an_address_there_is_no_network() -> None:
    options = container_options(WEB | {"address": None}, COMMON)
    assert options["network_mode"] == "none"
    assert "networks" not in options


def test_a_service_is_a_label() -> None:
    labels = container_options(WEB | {"service": "v1"}, COMMON)["labels"]
    assert labels["stack.variant"] == "v1"


def test_the_hash_knows_no_order_and_any_other_difference() -> None:
    assert config_hash({"a": 1, "b": {"c": 2, "d": 3}}) == config_hash(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )
    assert config_hash({"a": ["1", "2"]}) != config_hash({"a": ["2", "1"]})
    assert config_hash({"a": 1}) != config_hash({"a": "1"})


@pytest.mark.parametrize(
    ("differs", "replaced", "run"),
    [
        ({}, False, False),
        ({"health": "none"}, False, False),
        # The engine calls a new one starting until its first check is due.
        ({"health": "starting"}, False, True),
        ({"health": "unhealthy"}, True, True),
        ({"state": "exited"}, True, True),
        ({"state": "restarting", "health": "starting"}, True, True),
        ({"config": "another"}, True, True),
        ({"image": "web:1"}, True, True),
        ({"image_id": "sha256:1"}, True, True),
        ({"image_now": None}, True, True),
        ({"name": "x-other-1"}, True, True),
    ],
)
def test_what_becomes_of_a_container(differs: dict[str, Any], replaced: bool, run: bool) -> None:
    here = [found(**differs)]
    assert (to_replace([WEB], here, COMMON) == [WEB]) == replaced
    assert (to_run([WEB], here, COMMON) == [WEB]) == run


def test_only_those_that_run_can_be_unhealthy() -> None:
    here = [found(health="unhealthy"), found(name="gone", state="exited", health="unhealthy")]
    assert unhealthy(here) == ["x-web-1"]


def test_those_that_run_are_found_by_component() -> None:
    here = [found(), found(component="api"), found(component="api", state="paused")]
    assert len(running(here)) == 2
    assert running(here, "api") == [here[1]]


# ---- replicas -----------------------------------------------------------------------------------

REPLICAS = replica_containers(
    [
        {"name": f"{s}-{n}", "container": f"x-api-{s}-{n}", "service": s, "address": f"10.0.0.{a}"}
        for s, n, a in [("v1", 1, 21), ("v1", 2, 22), ("v2", 1, 41)]
    ],
    {"component": "api", "memory": "1M"},
    {"api-v1": "x-api-v1:1", "api-v2": "x-api-v2:1"},
)


def test_a_replica_has_its_own_name_address_and_image() -> None:
    assert REPLICAS[1] == {
        "component": "api",
        "memory": "1M",
        "name": "x-api-v1-2",
        "hostname": "v1-2",
        "service": "v1",
        "address": "10.0.0.22",
        "image": "x-api-v1:1",
        "env": {"REPLICA": "v1-2"},
    }


@pytest.mark.parametrize(
    ("here", "services"),
    [
        ([], []),
        ([found(each) for each in REPLICAS], []),
        ([found(each, config="old") for each in REPLICAS], ["v1", "v2"]),
        # A roll-out that was cut off: the new one has been tried.
        ([found(REPLICAS[0]), found(REPLICAS[1], config="old")], []),
        ([found(REPLICAS[0], image_id="sha256:1"), found(REPLICAS[2])], ["v1"]),
        ([found(REPLICAS[0], config="old", state="exited")], []),
    ],
)
def test_a_service_is_tried_when_none_of_its_replicas_is_like_this(
    here: list[dict[str, Any]], services: list[str]
) -> None:
    assert changed_services(REPLICAS, here, COMMON) == services


# ---- a container for one command ----------------------------------------------------------------


def test_a_container_of_a_moment_is_as_confined_and_takes_no_name_address_or_port() -> None:
    own = WEB | {"published_ports": ["80:80"], "volumes": ["/a:/b:ro"], "tmpfs": ["/tmp"]}
    own |= {"ulimits": ["nofile:8192:8192"]}
    assert run_arguments(container_options(own, COMMON)) == [
        "--read-only",
        "--network=net",
        "--user=7:7",
        "--memory=64M",
        "--cpus=0.5",
        "--memory-swap=64M",
        "--pids-limit=32",
        "--cap-drop=ALL",
        "--tmpfs=/tmp",
        "--volume=/a:/b:ro",
        "--ulimit=nofile=8192:8192",
    ]


def test_options_survive_json() -> None:
    options = container_options(WEB, COMMON)
    assert json.loads(json.dumps(options)) == options
