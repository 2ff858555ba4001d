"""A machine in a folder: the stack's command, and an engine that is a JSON file."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from machine import cli, containers

# Containers with image, state and health, and images. It notes its calls.
FAKE_DOCKER = """#!/usr/bin/env python3
import json, sys, time
path = sys.argv[0] + ".json"
engine = json.load(open(path))
containers, images, words = engine["containers"], engine["images"], sys.argv[1:]
engine["calls"].append(" ".join(words))
code = 0
match words:
    case ["ps", *options]:
        print(*(n for n, c in containers.items() if c["running"] or "--all" in options))
    case ["volume", "ls", *_]:
        print(*engine["volumes"])
    case ["volume", "inspect", name]:
        print(json.dumps([{"Mountpoint": engine["volumes"][name]}]))
    case ["inspect", *names]:
        print(json.dumps([{
            "Id": name, "Name": "/" + name, "RestartCount": 0,
            "State": {"Running": containers[name]["running"], "StartedAt": "", "FinishedAt": "",
                      "Status": "running" if containers[name]["running"] else "exited",
                      "Health": {"Status": engine.get("health", "healthy")}},
            "Config": {"Image": containers[name]["image"],
                       "Labels": {"stack.component": containers[name].get("component", "api"),
                                  "stack.variant": containers[name].get("service", "v1"),
                                  "stack.model": "m1"},
                       "Healthcheck": {"Test": ["CMD", "check", name],
                                       "Timeout": engine.get("timeout", 0)}}} for name in names]))
    case ["rm", "--force", name]:
        code = 0 if containers.pop(name, None) else 1
    case ["rename", old, new]:
        if new in containers:
            sys.exit(new + " is there already")
        containers[new] = containers.pop(old)
    case ["start" | "stop" as verb, *names]:
        for name in names:
            if name == engine.get("broken"):
                print(name + ": no", file=sys.stderr)
                code = 1
            else:
                containers[name]["running"] = verb == "start"
    case ["exec", name, *_]:
        # As long as the check of this test takes.
        time.sleep(engine.get("check_takes", 0))
        code = 0 if engine.get("check", "passes") == "passes" else 1
    case ["image", "ls", *_]:
        print(*images, sep=chr(10))
    case ["image", "rm", image]:
        if image in engine.get("in_use", []):
            sys.exit("in use")
        images.remove(image)
    case _:
        sys.exit("no such command")
json.dump(engine, open(path, "w"))
sys.exit(code)
"""


class Machine:
    """The command of the stack `app`, called as a function, and the engine that it meets."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self.patch, self.captured = folder, patch, captured
        self.path = folder / "bin/docker.json"
        (folder / "etc").mkdir()
        (folder / "bin").mkdir()
        (folder / "bin/docker").write_text(FAKE_DOCKER)
        (folder / "bin/docker").chmod(0o755)
        folders = {name: str(folder) for name in ("log_dir", "metrics_dir", "run_dir")}
        settings = {"stack": "app", "stack_dir": str(folder / "etc"), **folders}
        (folder / "etc/stack.json").write_text(json.dumps(settings))
        patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        # It names the machine's own; this brings the environment back.
        patch.setenv("DOCKER_HOST", "tcp://elsewhere")
        # The user who runs the tests may not be root.
        patch.setattr(cli, "become_root", lambda: None)
        patch.setattr(containers, "START_SECONDS", 1)
        self.write(containers={}, images=[], calls=[])

    def write(self, **engine: Any) -> None:
        """Change what the engine holds."""
        before = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.path.write_text(json.dumps(before | engine))

    @property
    def engine(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found

    def calls(self, verb: str) -> list[str]:
        """Return the engine's commands of this verb so far."""
        return [line for line in self.engine["calls"] if line.startswith(verb + " ")]

    def runs(self, v1: str, more: dict[str, dict[str, Any]] | None = None) -> None:
        """Let three replicas run, the first two this image, and other containers be there."""
        v2 = "v2:a"
        found = {
            "app-api-v1-1": {"image": v1, "running": True},
            "app-api-v1-2": {"image": v1, "running": True},
            "app-api-v2-1": {"image": v2, "running": True, "service": "v2"},
        }
        images = list(dict.fromkeys([*self.engine["images"], v1, v2]))
        self.write(containers=found | (more or {}), images=images)

    def holds(self, *running: str) -> None:
        """Let there be two replicas, gateway and Prometheus, of which these run."""
        names = ("api-v1-1", "api-v1-2", "nginx-1", "prometheus-1")
        found = {
            f"app-{name}": {
                "image": "i",
                "running": f"app-{name}" in running,
                "component": name.partition("-")[0],
            }
            for name in names
        }
        self.write(containers=found)

    def __call__(self, *words: str) -> tuple[int, str]:
        """Return exit code and output of a command."""
        self.patch.setattr("sys.argv", [str(self.folder / "app"), *words])
        code: object
        try:
            code = cli.main(str(self.folder / "etc/stack.json"))
        except SystemExit as stop:
            code = stop.code
        shown = "".join(self.captured.readouterr())
        # As Python does with a message.
        return (code, shown) if isinstance(code, int) else (1, f"{shown}{code}\n")

    def lock(self, **change: str) -> None:
        """Let this process hold the lock."""
        start = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        lock = {"pid": os.getpid(), "name": "test", "start": start, **change}
        (self.folder / "app.lock").write_text(json.dumps(lock))

    def release(self, v1: str, at: str) -> str:
        """Bring an image live at a moment; return the release's name."""
        self.runs(v1)
        (name,) = re.findall(r"^new: (\w+)$", self("record")[1], re.M)
        path = self.folder / f"etc/releases/{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"live_since": at}))
        return str(name)

    def records(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "etc/releases").iterdir())
