#!/usr/bin/python
"""Remove the untagged stages of image builds that hold a model, and those of former builds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: build_stages
short_description: remove untagged stages of image builds
description:
  - The classic builder leaves each stage of a build as an untagged image. Those that hold a model
    are removed. The one before the model is the cache of the next build and stays.
  - Cached stages of former builds (another base image, other libraries) are removed once a new one
    is there.
options:
  component:
    description: Value of the label C(stack.build) of the stages.
    type: str
    required: true
"""

RETURN = """
removed:
  description: Ids of the images that were removed.
  type: list
  elements: str
  returned: always
"""

MODEL_LABEL = "stack.build.model"

# Runs docker with these arguments and returns its lines; None: it failed.
Docker = Callable[[list[str]], list[str] | None]


def untagged(docker: Docker, *labels: str) -> list[str]:
    """Return the ids of untagged images that nothing is based on and that have all these labels."""
    filters = [f"--filter=label={label}" for label in labels]
    arguments = ["image", "ls", "--quiet", "--no-trunc", "--filter=dangling=true", *filters]
    return list(dict.fromkeys(docker(arguments) or []))


def parent(docker: Docker, image: str) -> str:
    """Return the id of the image that this one was built on; empty: none, or not known."""
    return "".join(docker(["image", "inspect", "--format={{.Parent}}", image]) or [])


def ancestors(docker: Docker, image: str) -> set[str]:
    """Return the ids of all that the image was built on."""
    found: set[str] = set()
    while (image := parent(docker, image)) and image not in found:
        found.add(image)
    return found


def clean(docker: Docker, component: str) -> list[str]:
    """Remove the stages; return the ids of those that went."""
    label = f"stack.build={component}"
    removed: list[str] = []
    # Used by a container, or by a build that runs just now: they stay for the next time.
    in_use: set[str] = set()

    def remove(image: str, *arguments: str) -> None:
        gone = docker(["image", "rm", *arguments, image]) is not None
        if gone:
            removed.append(image)
        else:
            in_use.add(image)

    # Each that goes uncovers the one before it, until one has no model: the next build's cache.
    before: set[str] = set()
    while stages := set(untagged(docker, label, MODEL_LABEL)) - in_use:
        for image in sorted(stages):
            before.add(parent(docker, image))
            remove(image, "--no-prune")
    cache = before - {"", *removed}
    while cache and (stages := set(untagged(docker, label)) - cache - in_use):
        for image in sorted(stages):
            remove(image, *(["--no-prune"] if ancestors(docker, image) & cache else []))
    return removed


def main() -> None:
    module = AnsibleModule(
        argument_spec={"component": {"type": "str", "required": True}}, supports_check_mode=True
    )

    def docker(arguments: list[str]) -> list[str] | None:
        code, out, _ = module.run_command(["docker", *arguments])
        return None if code else str(out).split()

    removed: list[str] = []
    if not module.check_mode:
        removed = clean(docker, module.params["component"])
    result: dict[str, Any] = {"changed": bool(removed), "removed": removed}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
