"""The monitoring's data: save it, restore it, or remove what is from the future.

A container is stopped while its volume is copied: a copy of files that are being written may be
of no use. Nothing is lost when something goes wrong: a file appears once it is whole, and what a
restore replaces stays until the container is healthy with the new data.
"""

import json
import os
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from .containers import unready_after
from .engine import run

COMPONENTS = ("prometheus", "grafana", "alertmanager")
UNCHANGED = "Nothing was changed."
# Beside a volume's data while a restore is under way.
STAGING, BEFORE = "restore", "before"
# Seconds that a container may take to become healthy with restored data.
HEALTHY_SECONDS = 120


def volumes(stack: str) -> dict[str, Path]:
    """Return component -> folder of its volume, for those that are here."""
    here = run("docker", "volume", "ls", "--quiet", "--filter", f"label=stack={stack}").split()
    found = {}
    for component in COMPONENTS:
        name = f"{stack}-{component}"
        if name in here:
            (volume,) = json.loads(run("docker", "volume", "inspect", name))
            found[component] = Path(volume["Mountpoint"])
    undo_cut_off(stack, found)
    return found


def undo_cut_off(stack: str, found: dict[str, Path]) -> None:
    """Roll back a restore that was cut off before its container was healthy."""
    for component, folder in found.items():
        before = folder.with_name(BEFORE)
        if before.exists():
            with stopped(stack, component):
                shutil.rmtree(folder, ignore_errors=True)
                before.rename(folder)
            print(f"a restore was cut off: {component} has its data of before again", flush=True)
        shutil.rmtree(folder.with_name(STAGING), ignore_errors=True)


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


def exit_on_signals() -> None:
    """Exit on SIGTERM and SIGHUP in the usual way, so that a stopped container is started again."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))


def size(folder: Path) -> int:
    """Return the bytes that a folder takes on its disk."""
    return int(run("du", "--summarize", "--block-size=1", str(folder)).split()[0])


def need(space: int, folder: Path) -> None:
    """Exit if the disk of a folder has less free space, in bytes."""
    free = shutil.disk_usage(folder).free
    if free < space:
        sys.exit(
            f"{folder} has {free >> 20} MB free and up to {space >> 20} MB are needed: free space."
        )


def save(stack: str, file: Path) -> None:
    """Write what the volumes hold to a file (.tar.gz)."""
    exit_on_signals()
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
    print(f"saved {', '.join(found)}: {file} ({file.stat().st_size} bytes)")


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what is neither a file nor a folder: a link could lead out of the volume."""
    return member if member.isfile() or member.isdir() else None


def check(file: Path) -> tuple[set[str], int]:
    """Read the whole archive; return the components in it and their size in bytes."""
    components: set[str] = set()
    total = 0
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                inside = path.parts and not path.is_absolute() and ".." not in path.parts
                if not (inside and plain(member)):
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


@contextmanager
def staging(volume: Path) -> Iterator[Path]:
    """Give a folder on the volume's own file system, so that a rename puts data in place."""
    folder = volume.with_name(STAGING)
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def swap(stack: str, component: str, folder: Path, new: Path) -> None:
    """Replace the data with new data; restore the old if the container is unhealthy with it."""
    before, name = folder.with_name(BEFORE), f"{stack}-{component}-1"
    with stopped(stack, component) as runs:
        folder.rename(before)
        new.rename(folder)
    if runs and unready_after(HEALTHY_SECONDS, [name]):
        with stopped(stack, component):
            folder.rename(new)
            before.rename(folder)
        sys.exit(f"{name} is unhealthy with these data; the data of before are back.")
    shutil.rmtree(before)


def restore(stack: str, file: Path) -> None:
    """Make the volumes hold what a file of `save` holds."""
    exit_on_signals()
    components, total = check(file)
    found = volumes(stack)
    if missing := components - found.keys():
        names = ", ".join(sorted(missing))
        sys.exit(f"The stack {stack} runs no {names}, which {file} has data of. {UNCHANGED}")
    need(total, found[min(components)].parent)
    with staging(found[min(components)]) as folder:
        with tarfile.open(file) as archive:
            # Owners and modes as they were; `check` has looked at every member.
            archive.extraction_filter = lambda member, _: member
            archive.extractall(folder, numeric_owner=True)  # noqa: S202
        for component in sorted(components):
            swap(stack, component, found[component], folder / component)
    print(f"restored {', '.join(sorted(components))} from {file}")


def forget_future(stack: str) -> None:
    """Keep Prometheus' blocks that end before now.

    Its memory (the WAL and what is mapped from it) goes whole: nothing takes single samples out of
    that. It is written into a block when it is three hours long, so it holds no more of the past.
    """
    exit_on_signals()
    volume = volumes(stack).get("prometheus")
    if volume is None:
        sys.exit(f"The stack {stack} runs no Prometheus. {UNCHANGED}")
    now = time.time() * 1000
    with staging(volume) as folder:
        new, like = folder / "prometheus", volume.stat()
        new.mkdir(mode=like.st_mode)
        os.chown(new, like.st_uid, like.st_gid)
        # A block is never written to again, so a link is as good as a copy.
        for meta in volume.glob("*/meta.json"):
            if json.loads(meta.read_text())["maxTime"] <= now:
                run("cp", "--archive", "--link", str(meta.parent), str(new))
        kept = len(list(new.iterdir()))
        swap(stack, "prometheus", volume, new)
    print(f"prometheus takes metrics again and kept {kept} blocks of the past")
