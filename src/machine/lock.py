"""One change at a time: the lock of a stack, and a line of history for each change that ended.

The owner is the process that the caller descends from: ansible-playbook on this machine, or the
ssh connection of another. When it is gone, so is the lock. (A controller that dies leaves its
connection open for ControlPersist, 60 s: hence PERHAPS_BUSY.)
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from .settings import Settings
from .text import table

# Exit codes of `lock`.
TAKEN, BUSY, PERHAPS_BUSY = 0, 3, 4
# pid, name and start of the owner; since when (Unix time), what, who and commit of the change.
Lock = dict[str, Any]
# A line of the history.
Change = dict[str, Any]


def process(pid: int) -> tuple[str, int, str]:
    """Return name, parent and start of a process; the start differs where a pid was used again.

    Raises:
        OSError: there is no such process.
    """
    folder = Path("/proc") / str(pid)
    name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
    fields = rest.split()
    if b"ansible-playbook" in b"\0".join((folder / "cmdline").read_bytes().split(b"\0")[:2]):
        name = "ansible-playbook"
    return name, int(fields[1]), fields[19]


def owner() -> Lock:
    """Find the process that stands for this run."""
    pid = os.getppid()
    found: Lock = {"pid": pid, "name": process(pid)[0]}
    while pid > 1:
        name, parent, _ = process(pid)
        if name.startswith("sshd"):
            found = {"pid": pid, "name": "ssh"}
            break
        if name == "ansible-playbook":
            # Its workers have the same name; the outermost one counts.
            found = {"pid": pid, "name": name}
        pid = parent
    return {**found, "start": process(found["pid"])[2]}


def is_alive(lock: Lock) -> bool:
    """Tell whether the owner still runs."""
    try:
        return bool(process(lock["pid"])[2] == lock["start"])
    except OSError:
        return False


def parse(text: str) -> dict[str, Any] | None:
    """Return a JSON object; None for a text that was cut off while it was written."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def current(settings: Settings) -> Lock | None:
    """Return the lock of the change that is under way, or None."""
    try:
        lock = parse(settings.lock.read_text(encoding="utf-8"))
    except OSError:
        return None
    return lock if lock and is_alive(lock) else None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """Open the lock's file so that no other process reads or writes it meanwhile."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with open(descriptor, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Unless a teardown has removed it meanwhile.
            if path.exists() and path.samefile(f"/proc/self/fd/{descriptor}"):
                yield file
                return


def write(file: TextIO, lock: Lock | None) -> None:
    """Replace what the lock's file holds; None frees the lock."""
    file.seek(0)
    file.truncate()
    if lock:
        json.dump(lock, file)


def is_same(lock: Lock | None, me: Lock) -> bool:
    """Tell whether this run holds the lock."""
    return lock is not None and (lock["pid"], lock["start"]) == (me["pid"], me["start"])


def take(settings: Settings, what: str, who: str, commit: str) -> int:
    """Take the lock; print who holds it if it is taken. Returns TAKEN, BUSY or PERHAPS_BUSY."""
    me = owner()
    with opened(settings.lock) as file:
        lock = parse(file.read())
        if is_same(lock, me):
            # An earlier play of this run took it.
            return TAKEN
        if lock:
            if is_alive(lock):
                age = round(time.time() - lock["since"])
                print(
                    f"{lock['what']} by {lock['who']} has been under way for {age} s"
                    f" ({lock['name']}, pid {lock['pid']})"
                )
                return PERHAPS_BUSY if lock["name"] == "ssh" else BUSY
            add(settings, lock, "cut off")
        write(file, {**me, "what": what, "who": who, "commit": commit, "since": time.time()})
    return TAKEN


def end(settings: Settings, result: str, release: str | None) -> None:
    """Free the lock and write how the change ended; without the lock, do neither."""
    me = owner()
    with opened(settings.lock) as file:
        lock = parse(file.read())
        if lock and is_same(lock, me):
            add(settings, lock, result, release)
            write(file, None)
            if not settings.stack_dir.is_dir():
                # The stack is gone, and so is its lock.
                settings.lock.unlink()


def add(settings: Settings, lock: Lock, result: str, release: str | None = None) -> None:
    """Add a change to the history. A machine that the stack never came to keeps none.

    Args:
        settings: of the stack.
        lock: since when, and what, who and commit of the change.
        result: done, failed, cut off, or what was restarted.
        release: that is live after it.
    """
    if not settings.stack_dir.is_dir():
        return
    line: Change = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(lock["since"])),
        "what": lock["what"],
        "who": lock["who"],
        "commit": lock["commit"],
        "release": release,
        "result": result,
        "seconds": round(time.time() - lock["since"]),
    }
    with settings.history.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def changes(settings: Settings, count: int) -> list[Change]:
    """Return the last changes, the last one last, without lines that a full disk cut off."""
    try:
        lines = settings.history.read_text(encoding="utf-8").splitlines()[-count:]
    except FileNotFoundError:
        return []
    return [change for line in lines if (change := parse(line)) is not None]


def show(settings: Settings, count: int) -> None:
    """Print the last changes as a table."""
    columns = ("time", "what", "who", "commit", "release", "result", "seconds")
    found = changes(settings, count)
    print(table(found, columns) if found else "No change is on record.")
