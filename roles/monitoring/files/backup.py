#!/usr/bin/env python3
"""Save the monitoring's data, bring saved data back, or take away what is from the future.

Usage: backup.py save STACK FILE       what the volumes hold goes to FILE (.tar.gz)
       backup.py restore STACK FILE    the volumes hold what FILE says
       backup.py forget-future STACK   Prometheus keeps its past blocks, and takes figures again

A container is stopped for as long as its volume is copied: a copy of files that are being written
may be of no use. Nothing is lost when something goes wrong: a file appears when it is whole, and
what a restore replaces stays until the container is healthy with the new data.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

COMPONENTS = ("prometheus", "grafana", "alertmanager")
UNCHANGED = "Nothing was changed."
# Beside a volume's data while a restore is under way.
STAGING, BEFORE = "restore", "before"


def run(*command: str) -> str:
    """Return a command's output; end with its own message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def volumes(stack: str) -> dict[str, pathlib.Path]:
    """Return component -> folder of its volume, for those that are here."""
    here = run("docker", "volume", "ls", "--quiet", "--filter", f"label=stack={stack}").split()
    names = {component: f"{stack}-{component}" for component in COMPONENTS}
    found = {
        component: pathlib.Path(
            json.loads(run("docker", "volume", "inspect", name))[0]["Mountpoint"]
        )
        for component, name in names.items()
        if name in here
    }
    put_back(stack, found)
    return found


@contextmanager
def stopped(stack: str, component: str) -> Iterator[bool]:
    """Stop the component's container if it runs, and start it again; gives whether it ran."""
    name = f"{stack}-{component}-1"
    runs = name in run("docker", "ps", "--format", "{{.Names}}").split()
    if runs:
        run("docker", "stop", name)
    try:
        yield runs
    finally:
        if runs:
            run("docker", "start", name)


def size(folder: pathlib.Path) -> int:
    return int(run("du", "--summarize", "--block-size=1", str(folder)).split()[0])


def need(space: int, folder: pathlib.Path) -> None:
    """End if the disk of a folder has less free space, in bytes."""
    free = shutil.disk_usage(folder).free
    if free < space:
        sys.exit(
            f"{folder} has {free >> 20} MB free and up to {space >> 20} MB are needed: free space."
        )


def save(stack: str, file: pathlib.Path) -> str:
    found = volumes(stack)
    if not found:
        sys.exit(f"The stack {stack} has no data here. `make start-project` puts it up.")
    need(sum(map(size, found.values())), file.parent)
    unfinished = file.with_name(file.name + ".new")
    try:
        # It holds Grafana's users.
        unfinished.touch(mode=0o600)
        with tarfile.open(unfinished, mode="w:gz", compresslevel=1) as archive:
            for component, folder in found.items():
                with stopped(stack, component):
                    archive.add(folder, arcname=component, filter=plain)
        check(unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return f"saved {', '.join(found)}: {file} ({file.stat().st_size} bytes)"


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what is neither a file nor a folder: a link could lead out of the volume."""
    return member if member.isfile() or member.isdir() else None


def check(file: pathlib.Path) -> tuple[set[str], int]:
    """Read the whole archive; return the components in it and their size in bytes."""
    components, total = set(), 0
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                path = pathlib.PurePosixPath(member.name)
                inside = path.parts and not path.is_absolute() and ".." not in path.parts
                if not (inside and (member.isfile() or member.isdir())):
                    sys.exit(f"{file} is none of our backups: it holds {member.name}. {UNCHANGED}")
                components.add(path.parts[0])
                total += member.size
    except (OSError, EOFError, tarfile.TarError) as error:
        sys.exit(f"{file} cannot be read ({error}): name one that make backup wrote. {UNCHANGED}")
    if not components:
        sys.exit(f"{file} is none of our backups: it is empty. {UNCHANGED}")
    if unknown := components - set(COMPONENTS):
        sys.exit(f"{file} is none of our backups: it holds {', '.join(unknown)}. {UNCHANGED}")
    return components, total


def swap(stack: str, component: str, folder: pathlib.Path, new: pathlib.Path) -> None:
    """Put the new data in the old one's place; if the container is not healthy so, take it back."""
    before, name = folder.with_name(BEFORE), f"{stack}-{component}-1"
    with stopped(stack, component) as runs:
        folder.rename(before)
        new.rename(folder)
    if runs and subprocess.run((stack, "await", "120", name), check=False).returncode != 0:
        with stopped(stack, component):
            folder.rename(new)
            before.rename(folder)
        sys.exit(f"{name} is not healthy with these data; what it had before is back.")
    shutil.rmtree(before)


def restore(stack: str, file: pathlib.Path) -> str:
    components, total = check(file)
    found = volumes(stack)
    if missing := components - found.keys():
        names = ", ".join(sorted(missing))
        sys.exit(f"The stack {stack} runs no {names}, which {file} has data of. {UNCHANGED}")
    # On the volumes' own file system, so that a rename puts it in place.
    staging = pathlib.Path(found[min(components)]).with_name(STAGING)
    need(total, staging.parent)
    try:
        staging.mkdir(mode=0o700)
        with tarfile.open(file) as archive:
            # Owners and modes as they were; what is in it was looked at.
            archive.extraction_filter = lambda member, _: member
            archive.extractall(staging, numeric_owner=True)  # noqa: S202
        for component in sorted(components):
            swap(stack, component, found[component], staging / component)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return f"restored {', '.join(sorted(components))} from {file}"


def forget_future(stack: str) -> str:
    """Keep Prometheus' blocks that end before now.

    Its memory (the WAL and what is mapped from it) goes whole: nothing takes single figures out of
    that. It is written into a block when it is three hours long, so it holds no more of the past.
    """
    folder = volumes(stack).get("prometheus")
    if folder is None:
        sys.exit(f"The stack {stack} runs no Prometheus. {UNCHANGED}")
    now = time.time() * 1000
    staging = folder.with_name(STAGING)
    new, like = staging / "prometheus", folder.stat()
    try:
        staging.mkdir(mode=0o700)
        new.mkdir(mode=like.st_mode)
        os.chown(new, like.st_uid, like.st_gid)
        # A block is never written to again, so a link is as good as a copy.
        for meta in folder.glob("*/meta.json"):
            if json.loads(meta.read_text())["maxTime"] <= now:
                run("cp", "--archive", "--link", str(meta.parent), str(new))
        kept = len(list(new.iterdir()))
        swap(stack, "prometheus", folder, new)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return f"prometheus takes figures again and kept {kept} blocks of the past"


def put_back(stack: str, found: dict[str, pathlib.Path]) -> None:
    """Undo a restore that was cut off before its data had proved good."""
    for component, folder in found.items():
        before = folder.with_name(BEFORE)
        if before.exists():
            with stopped(stack, component):
                shutil.rmtree(folder, ignore_errors=True)
                before.rename(folder)
            print(f"a restore was cut off: what {component} had before it is back", flush=True)
        shutil.rmtree(folder.with_name(STAGING), ignore_errors=True)


def main(words: list[str]) -> int:
    # So that a container that is stopped is started again.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    match words:
        case ["save", stack, file]:
            print(save(stack, pathlib.Path(file)))
        case ["restore", stack, file]:
            print(restore(stack, pathlib.Path(file)))
        case ["forget-future", stack]:
            print(forget_future(stack))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
