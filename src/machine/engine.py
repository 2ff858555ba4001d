"""The engine of this machine: by its command, and by its API for what is asked all the time."""

import http.client
import json
import os
import socket
import subprocess
import urllib.parse
from typing import Any

SOCKET = "/var/run/docker.sock"
# Repository and tag of an image, as containers name it.
IMAGE = "{{.Repository}}:{{.Tag}}"

# What the engine knows of a container: `docker inspect`.
Record = dict[str, Any]


def use_local() -> None:
    """Make `docker` use this machine's engine, whatever the user's environment names."""
    for name in [name for name in os.environ if name.startswith("DOCKER_")]:
        del os.environ[name]
    os.environ["DOCKER_HOST"] = f"unix://{SOCKET}"


class Fault(Exception):
    """What went wrong, in words for the person who has to fix it."""


def run(*command: str, stdin: str | None = None, timeout: float | None = None) -> str:
    """Return what a command prints.

    Raises:
        Fault: it fails, with the last of its own messages, or takes longer than `timeout` seconds.
    """
    title = " ".join(command[:3])
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise Fault(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Fault(f"{title} did not end within {timeout:g} s") from None
    if done.returncode != 0:
        raise Fault(f"{title}: {' '.join(done.stderr.strip().splitlines()[-3:])}")
    return done.stdout.strip()


def succeeds(*command: str, timeout: float | None = None) -> bool:
    """Run a command that may fail, or take longer than `timeout` seconds."""
    try:
        run(*command, timeout=timeout)
    except Fault:
        return False
    return True


def inspect(names: list[str]) -> list[Record]:
    """Return the engine's record of each container."""
    found: list[Record] = json.loads(run("docker", "inspect", *names)) if names else []
    return found


def records(stack: str) -> list[Record]:
    """Return the engine's record of each container of the stack, running or not."""
    return inspect(
        run("docker", "ps", "--all", "--quiet", "--filter", f"label=stack={stack}").split()
    )


def images(*options: str) -> list[str]:
    """Return repository and tag of the images that `docker image ls` lists."""
    return run("docker", "image", "ls", *options, "--format", IMAGE).split()


class Connection(http.client.HTTPConnection):
    """A connection to the engine's API."""

    def __init__(self) -> None:
        super().__init__("engine", timeout=60)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def request(method: str, path: str) -> Any:
    """Return the JSON that the API responds with, or None where the response is empty.

    Raises:
        OSError: the engine does not respond, or refuses.
    """
    connection = Connection()
    try:
        connection.request(method, path)
        response = connection.getresponse()
        text = response.read()
    except http.client.HTTPException as error:
        raise OSError(repr(error)) from error
    finally:
        connection.close()
    if response.status >= 400:
        reason = text.decode(errors="replace").strip()
        raise OSError(f"{method} {path}: {response.status} {reason}")
    return json.loads(text) if text else None


def listed(stack: str, *labels: str, **filters: list[str]) -> list[Record]:
    """Return the API's list of the stack's containers that these labels and filters match.

    Raises:
        OSError: the engine does not respond.
    """
    wanted = json.dumps({"label": [f"stack={stack}", *labels], **filters})
    return list(request("GET", f"/containers/json?all=1&filters={urllib.parse.quote(wanted)}"))
