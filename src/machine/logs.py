"""Logs of the containers and of the gateway's requests."""

import gzip
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from . import containers
from .settings import Settings


def show(settings: Settings, lines: int, following: bool) -> None:
    """Print the last lines of every source, with its name in front; follow them until Ctrl-C."""
    follow = ["--follow"] if following else []
    sources = {
        c.name: ["docker", "logs", *follow, "--tail", str(lines), c.name]
        for c in containers.find(settings)
    }
    if settings.access_log.exists():
        follow = ["--follow=name", "--retry"] if following else []
        sources["access"] = ["tail", *follow, "--lines", str(lines), str(settings.access_log)]
    readers = []
    for name, command in sources.items():
        output = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        prefix = ["sed", "--unbuffered", f"s/^/{name} | /"]
        readers.append(subprocess.Popen(prefix, stdin=output.stdout))
        if not following:
            readers[-1].wait()
    with suppress(KeyboardInterrupt):
        for reader in readers:
            reader.wait()


def matching(path: Path, request: str) -> list[str]:
    """Return the lines of a log that name a request; older logs are packed."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as lines:
        return [line.rstrip("\n") for line in lines if request in line]


def trace(settings: Settings, request: str) -> None:
    """Print what gateway and replicas wrote about a request, each line with its source in front."""
    found = []
    paths = settings.log_dir.glob(f"{settings.access_log.name}*")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        found += [f"access | {line}" for line in matching(path, request)]
    for container in containers.find(settings):
        if container.component == "api":
            output = subprocess.run(
                ["docker", "logs", container.name],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            ).stdout
            found += [f"{container.name} | {x}" for x in output.splitlines() if request in x]
    for line in found:
        print(line)
    if not found:
        sys.exit(
            f"No line names the request {request}: "
            "it is older than the logs, or of another gateway."
        )
