"""Releases: images and models of the replicas that were live, to roll back to."""

import datetime as dt
import hashlib
import json
import sys
from typing import Any

from . import containers, engine, lock
from .settings import Settings
from .text import table

# Releases whose images stay, the live one included.
KEPT = 5
# release (its id), live_since, by, who, commit; images and models: service -> name.
Release = dict[str, Any]


def find(settings: Settings) -> list[Release]:
    """Return the releases, the newest first; the first one is live."""
    paths = settings.releases.glob("*.json")
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return sorted(found, key=lambda release: str(release["live_since"]), reverse=True)


def record(settings: Settings) -> None:
    """Write down what the replicas run as the live release, and remove what it replaced."""
    containers.forget_replaced(settings)
    replicas = [c for c in containers.find(settings) if c.component == "api"]
    if not replicas:
        return
    images = {str(c.service): c.image for c in replicas}
    name = hashlib.sha256(json.dumps(images, sort_keys=True).encode()).hexdigest()[:8]
    known = find(settings)
    if known and known[0]["release"] == name:
        print(f"same: {name}")
        return
    change = lock.current(settings) or {}
    # What is rolled back to was made from the commit of its first time.
    commits = {release["release"]: release["commit"] for release in known}
    release = {
        "release": name,
        "live_since": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "by": change.get("what"),
        "who": change.get("who"),
        "commit": commits.get(name, change.get("commit")),
        "models": {str(c.service): str(c.model) for c in replicas},
        "images": images,
    }
    settings.releases.mkdir(mode=0o755, exist_ok=True)
    unfinished = settings.releases / f"{name}.new"
    unfinished.write_text(json.dumps(release, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(settings.releases / f"{name}.json")
    print(f"new: {name}")


def prune(settings: Settings) -> None:
    """Remove old releases, and the stack's images that neither a kept one nor a container needs.

    At the end of a run: in its middle, an image may be here whose container is not made yet.
    """
    known = find(settings)
    needed = {image for release in known[:KEPT] for image in release["images"].values()}
    needed |= {item["Config"]["Image"] for item in engine.records(settings.stack)}
    for release in known[KEPT:]:
        (settings.releases / f"{release['release']}.json").unlink()
    for image in engine.images("--filter", f"label=stack={settings.stack}"):
        # Another container may use it after all; then it stays.
        unneeded = image not in needed and "<none>" not in image
        if unneeded and engine.succeeds("docker", "image", "rm", image):
            print(f"removed {image}")


def print_one(settings: Settings, name: str | None) -> None:
    """Print a release as JSON; without a name, the one that was live before."""
    known = find(settings)
    found = [r for r in known if r["release"] == name] if name else known[1:2]
    if not found:
        kept = ", ".join(r["release"] for r in known) or "none"
        wanted = name or "before the live one"
        sys.exit(f"There is no release {wanted} here. Those kept, the live one first: {kept}.")
    if gone := sorted(set(found[0]["images"].values()) - set(engine.images())):
        sys.exit(
            f"The images of {found[0]['release']} are gone ({', '.join(gone)}): "
            "check out its commit and deploy that."
        )
    print(json.dumps(found[0]))


def show(settings: Settings) -> None:
    """Print the kept releases as a table."""
    rows = [
        {
            **release,
            "live": "live" if n == 0 else "",
            "model": ", ".join(f"{s} {m}" for s, m in release["models"].items()),
        }
        for n, release in enumerate(find(settings))
    ]
    columns = ("release", "live", "live_since", "by", "who", "commit", "model")
    print(table(rows, columns) if rows else "No release yet.")
