"""The stack's command: starting, stopping, waiting, state and maintenance."""

import json
import os

import pytest

from machine import containers, engine
from unit.fake_machine import Machine

GATEWAY = "app-nginx-1"
EVERY = ("app-api-v1-1", "app-api-v1-2", GATEWAY, "app-prometheus-1")


@pytest.fixture(autouse=True)
def every_container(machine: Machine) -> None:
    """Let the four be there, and not run."""
    machine.holds()


def test_the_stack_starts_replicas_then_gateway_then_the_rest(machine: Machine) -> None:
    code, output = machine("start")
    assert code == 0, output
    assert machine.calls("start") == [
        "start app-api-v1-1 app-api-v1-2",
        "start app-nginx-1",
        "start app-prometheus-1",
    ]
    assert machine("start") == (0, "")


def test_the_stack_stops_the_gateway_first(machine: Machine) -> None:
    machine.holds(*EVERY)
    assert machine("stop")[0] == 0
    assert machine.calls("stop") == [
        "stop app-nginx-1",
        "stop app-api-v1-1 app-api-v1-2 app-prometheus-1",
    ]


def test_the_stack_stops_what_an_interrupted_run_has_left(machine: Machine) -> None:
    left = {"app-nginx-stand-in": {"image": "i", "running": True, "component": "nginx"}}
    machine.write(containers=left)
    assert machine("stop") == (0, "stopped app-nginx-stand-in\n")
    assert machine("start") == (0, "")


def test_what_stays_unhealthy_is_named_and_keeps_nothing_else_from_its_start(
    machine: Machine,
) -> None:
    machine.write(health="unhealthy", check="fails")
    expected = "not healthy after 1 s: " + ", ".join(EVERY)
    assert machine("start") == (1, f"{expected}\n")
    assert len(machine.calls("start")) == 3


def test_what_cannot_start_says_why_and_the_others_start(machine: Machine) -> None:
    machine.write(broken="app-api-v1-1")
    code, output = machine("start")
    assert code == 1
    assert sorted(output.splitlines()) == [
        "app-api-v1-1: no",
        "not healthy after 1 s: app-api-v1-1",
        "started app-api-v1-2",
        "started app-nginx-1",
        "started app-prometheus-1",
    ]


def test_a_check_may_take_as_long_as_its_image_says(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody waits half a minute for the end of a check.
    monkeypatch.setattr(containers, "CHECK_SECONDS", 0.1)
    machine.holds(GATEWAY)
    machine.write(health="starting", check_takes=1, timeout=20 * 10**9)
    assert machine("await", "0", GATEWAY) == (0, "")
    machine.write(timeout=0)
    assert "not healthy" in machine("await", "0", GATEWAY)[1]


def test_half_of_a_wait_is_left_to_the_start_up_and_it_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, pauses = [0.0], []

    def check(item: object) -> bool:
        clock[0] += 7
        return False

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", pause)
    monkeypatch.setattr(engine, "inspect", lambda names: [{"Name": f"/{name}"} for name in names])
    monkeypatch.setattr(containers, "is_ready", check)
    assert containers.unready_after(40, ["nginx"]) == ["nginx"]
    assert pauses == [7, 7, 5]


def test_what_the_engine_has_not_asked_yet_is_asked(machine: Machine) -> None:
    machine.holds(GATEWAY)
    for health, check, healthy in (
        ("starting", "passes", 1),
        ("starting", "fails", 0),
        ("unhealthy", "passes", 0),
    ):
        machine.write(health=health, check=check)
        assert f"{healthy} of 4" in machine("status", "--brief")[1]


def test_waiting_asks_a_container_by_its_own_check(machine: Machine) -> None:
    assert machine("await", "0", GATEWAY) == (1, "not healthy after 0 s: app-nginx-1\n")
    assert machine.calls("exec") == []
    machine.holds(GATEWAY)
    machine.write(health="starting")
    assert machine("await", "0", GATEWAY)[0] == 0
    assert machine.calls("exec") == ["exec app-nginx-1 check app-nginx-1"]
    machine.write(check="fails")
    assert machine("await", "0", GATEWAY)[0] == 1


def test_waiting_takes_the_engines_word_for_a_healthy_container(machine: Machine) -> None:
    """Its own check may take long on a busy machine, and it has just passed."""
    machine.holds(GATEWAY)
    machine.write(check="fails")
    assert machine("await", "0", GATEWAY) == (0, "")


def test_the_state_in_one_line(machine: Machine) -> None:
    machine.holds(GATEWAY)
    expected = "app: 1 of 4 containers healthy, certificate None days left\n"
    assert machine("status", "--brief") == (1, expected)


def test_the_state_as_json_has_the_keys_that_scripts_read(machine: Machine) -> None:
    machine.holds(GATEWAY)
    found = json.loads(machine("status", "--json")[1])
    assert list(found) == [
        "stack",
        "version",
        "containers",
        "certificate_days_left",
        "certificate_fault",
        "maintenance",
        "left_out",
    ]
    assert found["containers"][2] == {
        "name": GATEWAY,
        "component": "nginx",
        "service": "v1",
        "image": "i",
        "model": "m1",
        "state": "running",
        "health": "healthy",
        "since": "Z",
        "restarts": 0,
    }


def test_the_exit_code_is_0_when_everything_is_healthy(machine: Machine) -> None:
    machine.holds(*EVERY)
    assert machine("status")[0] == 0
    machine.write(containers={})
    assert machine("status") == (
        1,
        "The stack app has no container here. `make start-project` puts it up.\n",
    )


def test_maintenance_is_switched_on_and_off_and_shown(machine: Machine) -> None:
    code, output = machine("maintenance", "on")
    assert (code, "The stack app has no gateway here" in output) == (1, True)
    folder = machine.folder / "etc/nginx"
    folder.mkdir(parents=True)
    for _ in range(2):
        assert machine("maintenance", "on")[0] == 0
        assert (folder / "maintenance").exists()
    assert "in maintenance" in machine("status", "--brief")[1]
    assert json.loads(machine("status", "--json")[1])["maintenance"] is True
    for _ in range(2):
        assert machine("maintenance", "off")[0] == 0
        assert not (folder / "maintenance").exists()
    assert "maintenance" not in machine("status", "--brief")[1]


def test_a_request_is_found_in_every_log_of_the_gateway(machine: Machine) -> None:
    request = "0123456789abcdef" * 2
    (machine.folder / "access.log").write_text(f'{{"id": "{request}"}}\n{{"id": "other"}}\n')
    machine.write(containers={})
    assert machine("logs", "--request", request) == (0, f'access | {{"id": "{request}"}}\n')
    code, output = machine("logs", "--request", request[::-1])
    assert (code, "No line names the request" in output) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "sing",
        "status --jsn",
        "status --js",
        "status --json --brief",
        "maintenance",
        "maintenance maybe",
        "logs many",
        "logs --request 12",
        "history -1",
        "await",
        "await 1.5 app-nginx-1",
        "release one two",
    ],
)
def test_what_it_does_not_know_gives_the_usage(machine: Machine, words: str) -> None:
    code, output = machine(*words.split())
    assert (code, output.startswith("usage: app ")) == (2, True)
    assert machine.engine["calls"] == []


def test_docker_is_the_machines_own_whatever_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.setenv(name, "elsewhere")
    engine.use_local()
    assert {k: v for k, v in os.environ.items() if k.startswith("DOCKER_")} == {
        "DOCKER_HOST": "unix:///var/run/docker.sock"
    }
