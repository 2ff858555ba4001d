#!/usr/bin/env python3
"""One change at a time: a lock on this machine, and a line of history for each that ended.

Usage: change.py take STACK STACK_DIR WHAT WHO COMMIT   exit code 0: taken, 3: busy, 4: perhaps busy
       change.py end STACK STACK_DIR RESULT [RELEASE]   frees it and writes what became of it

The owner is the process that this one descends from: ansible-playbook on this machine, or the ssh
connection of another. When it is gone, so is the lock. (A controller that dies leaves its
connection open for ControlPersist, 60 s: hence the 4.)
"""

import contextlib
import fcntl
import json
import os
import pathlib
import sys
import time
import typing

LOCKS = pathlib.Path("/run")
BUSY, PERHAPS = 3, 4
Fields = dict[str, typing.Any]


def process(pid: int) -> tuple[str, int, str]:
    """Return name, parent and start of a process; the start tells a pid that was given again.

    Raises:
        OSError: there is no such process.
    """
    folder = pathlib.Path("/proc") / str(pid)
    name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
    fields = rest.split()
    if b"ansible-playbook" in b"\0".join((folder / "cmdline").read_bytes().split(b"\0")[:2]):
        name = "ansible-playbook"
    return name, int(fields[1]), fields[19]


def owner() -> Fields:
    """Find the process that stands for this run."""
    pid = os.getppid()
    found: Fields = {"pid": pid, "name": process(pid)[0]}
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


def is_alive(lock: Fields) -> bool:
    try:
        return bool(process(lock["pid"])[2] == lock["start"])
    except OSError:
        return False


@contextlib.contextmanager
def locked(stack: str) -> typing.Iterator[typing.TextIO]:
    """Hold the lock's file, not the lock: nobody else reads or writes it meanwhile."""
    path = LOCKS / f"{stack}.lock"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with open(descriptor, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Unless a teardown has removed it meanwhile.
            if path.exists() and path.samefile(f"/proc/self/fd/{descriptor}"):
                yield file
                return


def read(file: typing.TextIO) -> Fields | None:
    """Return who holds the lock; what was cut off while it was written counts as nobody."""
    try:
        found: Fields = json.load(file)
    except ValueError:
        return None
    return found


def write(file: typing.TextIO, lock: Fields | None) -> None:
    file.seek(0)
    file.truncate()
    if lock:
        json.dump(lock, file)


def record(stack_dir: str, lock: Fields, result: str, release: str | None = None) -> None:
    """Add a line to the history; a machine that the stack never came to keeps none."""
    folder = pathlib.Path(stack_dir)
    if not folder.is_dir():
        return
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(lock["since"])),
        "what": lock["what"],
        "who": lock["who"],
        "commit": lock["commit"],
        "release": release,
        "result": result,
        "seconds": round(time.time() - lock["since"]),
    }
    with (folder / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def take(stack: str, stack_dir: str, what: str, who: str, commit: str) -> int:
    me = owner()
    with locked(stack) as file:
        lock = read(file)
        if lock and (lock["pid"], lock["start"]) == (me["pid"], me["start"]):
            # A play before this one took it.
            return 0
        if lock:
            if is_alive(lock):
                age = round(time.time() - lock["since"])
                print(
                    f"{lock['what']} by {lock['who']} has been under way for {age} s"
                    f" ({lock['name']}, pid {lock['pid']})"
                )
                return PERHAPS if lock["name"] == "ssh" else BUSY
            record(stack_dir, lock, "cut off")
        write(file, {**me, "what": what, "who": who, "commit": commit, "since": time.time()})
    return 0


def end(stack: str, stack_dir: str, result: str, release: str | None = None) -> int:
    me = owner()
    with locked(stack) as file:
        lock = read(file)
        if lock and (lock["pid"], lock["start"]) == (me["pid"], me["start"]):
            record(stack_dir, lock, result, release)
            write(file, None)
            if not pathlib.Path(stack_dir).is_dir():
                # The stack is gone, and so is its lock.
                (LOCKS / f"{stack}.lock").unlink()
    return 0


def main(words: list[str]) -> int:
    match words:
        case ["take", stack, stack_dir, what, who, commit]:
            return take(stack, stack_dir, what, who, commit)
        case ["end", stack, stack_dir, result, *release] if len(release) < 2:
            return end(stack, stack_dir, result, *release)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
