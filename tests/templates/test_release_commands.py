"""What the stack's command does for a roll-out: releases, the way back, old images, history."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import render
from templates.test_machine_templates import executable

# An engine in a JSON file: containers with image and state, and images.
FAKE_DOCKER = """#!/usr/bin/env python3
import json, os, sys
path = os.environ["ENGINE"]
engine = json.load(open(path))
containers, images, words = engine["containers"], engine["images"], sys.argv[1:]
engine["calls"].append(" ".join(words))
match words:
    case ["ps", *_]:
        print(*containers)
    case ["inspect", *names]:
        print(json.dumps([{
            "Id": name, "Name": "/" + name, "RestartCount": 0,
            "State": {"Running": containers[name]["running"], "StartedAt": "", "FinishedAt": "",
                      "Status": "running" if containers[name]["running"] else "exited",
                      "Health": {"Status": "healthy"}},
            "Config": {"Image": containers[name]["image"],
                       "Labels": {"stack.component": containers[name].get("component", "api"),
                                  "stack.variant": containers[name].get("service", "v1"),
                                  "stack.model": "m1"},
                       "Healthcheck": {"Test": ["CMD", "check"]}}} for name in names]))
    case ["rm", "--force", name]:
        if containers.pop(name, None) is None:
            sys.exit(1)
    case ["rename", old, new]:
        if new in containers:
            sys.exit(new + " is there already")
        containers[new] = containers.pop(old)
    case ["start", *names]:
        for name in names:
            containers[name]["running"] = True
    case ["exec", *_]:
        pass
    case ["image", "ls", *_]:
        print(*images, sep=chr(10))
    case ["image", "rm", image]:
        if image in engine.get("in_use", []):
            sys.exit("in use")
        images.remove(image)
    case _:
        sys.exit("no such command")
json.dump(engine, open(path, "w"))
"""


class Machine:
    """The command, and the engine that it meets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "engine.json"
        (folder / "etc").mkdir()
        (folder / "bin").mkdir()
        executable(folder / "bin/docker", FAKE_DOCKER)
        text = render.render(
            "stack", "stack.py.j2", stack_name="app", stack_dir=str(folder / "etc")
        )
        text = text.replace("os.geteuid() != 0", "False").replace('"/run/', f'"{folder}/')
        executable(folder / "app", text.replace("PATIENCE = 180", "PATIENCE = 1"))
        self.write(containers={}, images=[], calls=[])

    def write(self, **engine: Any) -> None:
        before = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.path.write_text(json.dumps(before | engine))

    @property
    def engine(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found

    def runs(self, v1: str, more: dict[str, dict[str, Any]] | None = None) -> None:
        """Let three replicas run, the first two this image, and other containers be there."""
        v2 = "v2:a"
        containers = {
            "app-api-v1-1": {"image": v1, "running": True},
            "app-api-v1-2": {"image": v1, "running": True},
            "app-api-v2-1": {"image": v2, "running": True, "service": "v2"},
        }
        images = list(dict.fromkeys([*self.engine["images"], v1, v2]))
        self.write(containers=containers | (more or {}), images=images)

    def __call__(self, *words: str) -> tuple[int, str]:
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "ENGINE": str(self.path),
        }
        done = subprocess.run(
            [self.folder / "app", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    def release(self, v1: str, at: str) -> str:
        """Bring an image live at a moment; return the release's name."""
        self.runs(v1)
        (name,) = re.findall(r"^new: (\w+)$", self("record")[1], re.M)
        path = self.folder / f"etc/releases/{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"live_since": at}))
        return str(name)

    def records(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "etc/releases").iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_runs_is_recorded_once(machine: Machine) -> None:
    (machine.folder / "app.lock").write_text(
        json.dumps({"what": "deploy", "who": "ann@desk", "commit": "abc1234"})
    )
    machine.runs("v1:a")
    code, said = machine("record")
    assert (code, said[:5]) == (0, "new: ")
    name = said[5:].strip()
    assert machine("record") == (0, f"same: {name}\n")
    (record,) = (machine.folder / "etc/releases").iterdir()
    found = json.loads(record.read_text())
    assert found.pop("live_since").startswith("20")
    assert found == {
        "release": name,
        "by": "deploy",
        "who": "ann@desk",
        "commit": "abc1234",
        "models": {"v1": "m1", "v2": "m1"},
        "images": {"v1": "v1:a", "v2": "v2:a"},
    }


def test_without_replicas_there_is_no_release(machine: Machine) -> None:
    assert machine("record") == (0, "")
    assert machine("releases") == (0, "No release yet.\n")


def test_one_before_the_live_one_is_what_a_rollback_goes_to(machine: Machine) -> None:
    first = machine.release("v1:a", "2026-01-01T00:00:00Z")
    code, said = machine("release")
    assert (code, "no release before the live one" in said) == (1, True)
    second = machine.release("v1:b", "2026-01-02T00:00:00Z")
    assert json.loads(machine("release")[1])["release"] == first
    assert json.loads(machine("release", second)[1])["images"]["v1"] == "v1:b"
    code, said = machine("release", "nonsense")
    assert code == 1
    assert f"no release nonsense here. Those kept, the live one first: {second}, {first}." in said


def test_a_release_that_is_live_again_comes_first_with_its_first_commit(machine: Machine) -> None:
    lock = machine.folder / "app.lock"
    lock.write_text(json.dumps({"what": "deploy", "who": "ann@desk", "commit": "abc1234"}))
    first = machine.release("v1:a", "2026-01-01T00:00:00Z")
    second = machine.release("v1:b", "2026-01-02T00:00:00Z")
    lock.write_text(json.dumps({"what": "rollback", "who": "bob@desk", "commit": "def5678"}))
    assert machine.release("v1:a", "2026-01-03T00:00:00Z") == first
    assert json.loads(machine("release")[1])["release"] == second
    lines = machine("releases")[1].splitlines()
    assert re.match(rf"{first} +live +\S+ +rollback +bob@desk +abc1234 +v1 m1, v2 m1", lines[1])
    assert lines[2].startswith(second)
    assert machine.records() == sorted([first, second])


def test_a_release_whose_image_is_gone_is_no_way_back(machine: Machine) -> None:
    machine.release("v1:a", "2026-01-01T00:00:00Z")
    machine.release("v1:b", "2026-01-02T00:00:00Z")
    machine.write(images=["v1:b", "v2:a"])
    code, said = machine("release")
    assert (code, "are gone (v1:a)" in said) == (1, True)


def test_five_releases_are_kept_and_what_runs(machine: Machine) -> None:
    machine.write(images=["nginx:old", "nginx:new", "<none>:<none>"])
    names = [machine.release(f"v1:{n}", f"2026-01-0{n}T00:00:00Z") for n in range(1, 7)]
    # The gateway's image is in use, the old one is not.
    gateway = {"image": "nginx:new", "running": True, "component": "nginx", "service": None}
    machine.runs("v1:7", {"app-nginx-1": gateway})
    machine.write(images=[*machine.engine["images"], "nginx:new"])
    assert machine("record")[1].startswith("new: ")
    # A run that is not over may still need what is here.
    assert {"nginx:old", "v1:1"} <= set(machine.engine["images"])
    code, said = machine("prune")
    assert (code, set(said.split()) - {"removed"}) == (0, {"nginx:old", "v1:1", "v1:2"})
    assert len(machine.records()) == 5
    assert not {names[0], names[1]} & set(machine.records())
    wanted = {"v1:3", "v1:4", "v1:5", "v1:6", "v1:7", "v2:a", "nginx:new", "<none>:<none>"}
    assert set(machine.engine["images"]) == wanted


def test_an_image_that_cannot_go_stays(machine: Machine) -> None:
    machine.write(images=["other:1"], in_use=["other:1"])
    machine.runs("v1:a")
    assert machine("record")[0] == 0
    assert machine("prune") == (0, "")
    assert "other:1" in machine.engine["images"]


def test_what_a_roll_out_replaced_goes_with_the_record(machine: Machine) -> None:
    machine.runs("v1:b", {"app-api-v1-1-before": {"image": "v1:a", "running": False}})
    assert machine("record")[0] == 0
    assert "app-api-v1-1-before" not in machine.engine["containers"]


def test_the_way_back_gives_each_replica_its_old_container(machine: Machine) -> None:
    machine.runs(
        "v1:b",
        {
            "app-api-v1-1-before": {"image": "v1:a", "running": False},
            # Its new one was never made.
            "app-api-v2-2-before": {"image": "v2:z", "running": False, "service": "v2"},
        },
    )
    code, said = machine("put-back")
    assert (code, said) == (0, "put back app-api-v1-1\nput back app-api-v2-2\n")
    containers = machine.engine["containers"]
    assert {name: c["image"] for name, c in containers.items()} == {
        "app-api-v1-1": "v1:a",
        "app-api-v1-2": "v1:b",
        "app-api-v2-1": "v2:a",
        "app-api-v2-2": "v2:z",
    }
    assert all(container["running"] for container in containers.values())


def test_what_a_roll_out_set_aside_is_neither_shown_nor_started(machine: Machine) -> None:
    machine.runs(
        "v1:b",
        {
            "app-api-v1-1-before": {"image": "v1:a", "running": False},
            "app-api-v1-candidate": {"image": "v1:c", "running": False},
        },
    )
    assert machine("status", "--brief")[1].startswith("app: 3 of 3 containers well")
    assert machine("start") == (0, "")


def test_history_is_shown_the_last_one_last(machine: Machine) -> None:
    assert machine("history") == (0, "No change is on record.\n")
    lines = [
        {"time": f"t{n}", "what": "deploy", "who": "ann@desk", "commit": None, "result": "done"}
        for n in range(30)
    ]
    text = "".join(json.dumps(line | {"release": "r", "seconds": 1}) + "\n" for line in lines)
    (machine.folder / "etc/history.jsonl").write_text(text)
    shown = machine("history")[1].splitlines()
    assert shown[0].split() == ["TIME", "WHAT", "WHO", "COMMIT", "RELEASE", "RESULT", "SECONDS"]
    assert (len(shown), shown[-1].split()[0]) == (21, "t29")
    assert machine("history", "2")[1].splitlines()[1].split()[0] == "t28"
    assert machine("history", "all")[0] == 2
