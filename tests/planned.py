#!/usr/bin/env python3
"""Hold a plan against what the run then did.

Usage: planned.py look STACK >BEFORE          what there is of a stack
       planned.py compare STACK BEFORE PLAN   PLAN: the file of STACK_PLAN_JSON

Prints a line for each thing that was changed and not planned (+) or planned and not changed (-).
Exit code 1 where there is one.
"""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

# What every run writes down about itself, what programs write (the certificate's command, for one),
# and the folders of the gateway's configurations: the plan compares with the one that is live.
NOT_PLANNED = re.compile(
    r"/nginx/[0-9a-f]{12}(/|$)|/(history|releases)(\.|/|$)|-before$|^/var/log/[^/]+/."
    r"|/tls(/|$)|/secrets/(ca|certificate)\.|/ca\.crt$"
)
State = dict[str, dict[str, str]]


def docker(*arguments: str) -> list[str]:
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def described(path: Path) -> str:
    """Return what a run may change of a file: its kind, mode, owner and content."""
    info = path.lstat()
    words = [oct(info.st_mode), str(info.st_uid), str(info.st_gid)]
    if path.is_symlink():
        words.append(str(path.readlink()))
    elif path.is_file():
        words.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return " ".join(words)


def files(stack: str) -> dict[str, str]:
    """Return path -> description of every file of the stack; of the gateway's, the live ones."""
    found: list[Path] = []
    for pattern in (f"etc/{stack}", f"etc/*/{stack}*", f"etc/*/*-{stack}*", f"etc/*/*/*{stack}*"):
        found += Path("/").glob(pattern)
    for pattern in (f"usr/local/bin/{stack}*", f"usr/local/lib/{stack}", f"var/log/{stack}"):
        found += Path("/").glob(pattern)
    found += Path("/usr/local/lib").glob(f"{stack}/**/*")
    found += Path(f"/etc/{stack}").rglob("*")
    found += Path(f"/etc/{stack}/nginx/current").glob("*")
    return {str(path): described(path) for path in found if not NOT_PLANNED.search(str(path))}


def look(stack: str) -> State:
    """Return kind -> name -> what identifies it."""
    label = ["--filter", f"label=stack={stack}"]
    containers = docker("ps", "--all", "--no-trunc", *label, "--format", "{{.Names}} {{.ID}}")
    # By name alone: until the base image is there, no tag can be known.
    images = docker("image", "ls", *label, "--format", "{{.Repository}} {{.Tag}}")
    images += docker("image", "ls", f"{stack}-base", "--format", "{{.Repository}} {{.ID}}")
    named: State = {"container": {}, "image": {}, "network": {}, "volume": {}}
    for kind, lines in (("container", containers), ("image", images)):
        for line in lines:
            name, _, identity = line.partition(" ")
            named[kind][name] = " ".join(sorted([*named[kind].get(name, "").split(), identity]))
    named["network"] = {
        name: "" for name in docker("network", "ls", *label, "--format", "{{.Name}}")
    }
    named["volume"] = {name: "" for name in docker("volume", "ls", *label, "--format", "{{.Name}}")}
    named["container"] = {k: v for k, v in named["container"].items() if not NOT_PLANNED.search(k)}
    return {"file": files(stack), **named}


def changed(before: State, after: State) -> set[tuple[str, str]]:
    """Return kind and name of everything that came, went or differs."""
    found = set()
    for kind in after:
        for name in before[kind].keys() | after[kind].keys():
            old, new = before[kind].get(name), after[kind].get(name)
            # An image that nothing needs any more is removed by and by.
            gone = kind == "image" and set((new or "").split()) <= set((old or "").split())
            if old != new and not gone:
                found.add((kind, name))
    return found


def planned(plan: list[dict[str, str]], kinds: set[str]) -> set[tuple[str, str]]:
    """Return kind and name of everything that a plan has, as `changed` does."""
    return {
        (one["kind"], one["name"].partition(":")[0] if one["kind"] == "image" else one["name"])
        for one in plan
        if one["kind"] in kinds and not NOT_PLANNED.search(one["name"])
    }


def explained(
    done: set[tuple[str, str]], wanted: set[tuple[str, str]], after: State
) -> set[tuple[str, str]]:
    """Return what was done without the files of a folder whose removal was planned."""
    gone = {name for kind, name in wanted if kind == "file" and name not in after["file"]}
    return {
        (kind, name)
        for kind, name in done
        if kind != "file" or not gone & {str(parent) for parent in Path(name).parents}
    }


def main(what: str, stack: str, *paths: str) -> int:
    state = look(stack)
    if what == "look":
        json.dump(state, sys.stdout)
        return 0
    before, plan = (json.loads(Path(path).read_text()) for path in paths)
    wanted = planned(plan, set(state))
    done = explained(changed(before, state), wanted, state)
    for sign, names in (("+", done - wanted), ("-", wanted - done)):
        for kind, name in sorted(names):
            print(f"{sign} {kind} {name}")
    return int(wanted != done)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
