"""Print what a run in check mode would change, in plain words: `make plan`."""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: plan
type: stdout
short_description: what a run would change, in plain words
description:
  - Reads the results of C(ansible-playbook --check --diff) and prints what would change, by kind.
  - Prints the reason instead where a check fails.
options:
  json_path:
    description: Also write the changes to this file, as a JSON list.
    type: path
    env:
      - name: STACK_PLAN_JSON
    ini:
      - section: callback_plan
        key: json_path
"""

# Kinds in the order in which they are printed, each with its heading.
HEADINGS = {
    "package": "Packages",
    "image": "Images",
    "network": "Networks",
    "volume": "Volumes",
    "container": "Containers",
    "file": "Files",
    "service": "Services",
    "step": "Steps",
}
COMMANDS = {"command", "shell", "script"}
# How many lines of one file's difference are shown.
MOST_LINES = 40
NOTHING = "Nothing: packages, images, containers and files are as this checkout describes them."


@dataclass
class Change:
    """One thing that would change: its kind, its name, what happens to it, and details."""

    kind: str
    name: str
    verb: str
    details: list[str] = field(default_factory=list)


def said(text: str) -> list[str]:
    """Return the lines of a file that are neither empty nor comments."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def as_text(value: object) -> str:
    """Return one side of a difference: modules give text, or a dictionary of attributes."""
    if isinstance(value, Mapping):
        return "".join(f"{key}: {value[key]}\n" for key in sorted(value) if key != "path")
    return str(value or "")


def difference(before: str, after: str) -> list[str]:
    """Return the lines that go (-) and come (+), without comments."""
    lines = [
        f"{line[0]} {line[1:]}"
        for line in list(difflib.unified_diff(said(before), said(after), n=0, lineterm=""))[2:]
        if not line.startswith("@@")
    ]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"({len(lines) - MOST_LINES} more lines)"]
    return lines or ["only comments or empty lines"]


def file(path: str, diff: Mapping[str, Any]) -> Change:
    """Return what one difference says of a file."""
    before, after = as_text(diff.get("before")), as_text(diff.get("after"))
    if "prepared" in diff or "/secrets/" in path:
        return Change("file", path, "is written (its content is not shown)")
    if "state: absent" in after.splitlines():
        return Change("file", path, "is removed")
    if before.strip() and "absent" not in before:
        return Change("file", path, "changes", difference(before, after))
    if isinstance(diff.get("after"), Mapping):
        return Change("file", path, "is new" if "absent" in before else "changes")
    return Change("file", path, "is new" if after else "changes")


def files(args: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[Change]:
    """Give each file of a task that writes files."""
    path = str(args.get("dest") or args.get("path") or result.get("dest") or result.get("path"))
    if args.get("state") == "absent":
        yield Change("file", path, "is removed")
        return
    diffs = result.get("diff") or []
    named = [one for one in ([diffs] if isinstance(diffs, Mapping) else diffs) if one]
    for one in named or [{"prepared": ""}]:
        header = re.sub(r" \(content\)$", "", str(one.get("before_header") or ""))
        yield file(header if header.startswith("/") else path, one)


def options(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return each option of a container that differs, as `name: before -> after`."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        # Of several labels or variables, those that differ.
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += [
                f"{name}: {key}: {old.get(key)} -> {value}"
                for key, value in sorted(new.items())
                if old.get(key) != value and key != "stack.config"
            ]
        elif name not in ("exists", "running", "image"):
            lines.append(f"{name}: {old} -> {new}")
    return lines


def container(args: Mapping[str, Any], result: Mapping[str, Any]) -> Change:
    """Say what becomes of a container."""
    diff = result.get("diff") or {}
    before, after = diff.get("before") or {}, diff.get("after") or {}
    if args.get("state") == "absent":
        return Change("container", str(args["name"]), "is removed")
    if before.get("exists") is False:
        return Change("container", str(args["name"]), "is started", [f"image: {args.get('image')}"])
    if diff.get("differences") is not None or diff.get("image_different"):
        reason = "it is unhealthy" if args.get("recreate") else "its definition differs"
        differs = options(before, after) or [reason]
        return Change("container", str(args["name"]), "is replaced", differs)
    return Change("container", str(args["name"]), "is started again", options(before, after))


def words(value: object) -> str:
    """Return a list of names as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def changes(
    action: str, name: str, args: Mapping[str, Any], result: Mapping[str, Any]
) -> Iterator[Change]:
    """Give what a changed result of a module stands for, by the module's arguments.

    `action` is the module's full name, `name` the task's. What has no kind of its own is a step
    with the words of the task's name.
    """
    module = action.rpartition(".")[2]
    if module == "docker_container":
        yield container(args, result)
    elif module == "docker_image":
        yield Change("image", str(args["name"]), "is built")
    elif module in ("docker_network", "docker_volume"):
        verb = "is removed" if args.get("state") == "absent" else "is created or changed"
        yield Change(module.removeprefix("docker_"), str(args["name"]), verb)
    elif module == "apt" and args.get("name"):
        yield Change("package", words(args["name"]), "are installed, where they are missing")
    elif module in ("systemd_service", "systemd", "service"):
        verb = str(args.get("state") or "enabled")
        yield Change("service", str(args["name"]), f"is {verb}")
    elif module in COMMANDS and (built := re.search(r"docker build .*--tag (\S+)", command(args))):
        yield Change("image", built[1], "is built")
    elif module in COMMANDS and args.get("creates"):
        yield Change("file", str(args["creates"]), "is new")
    elif module == "files" or (module not in COMMANDS and (args.get("dest") or args.get("path"))):
        yield from files(args, result)
    else:
        # A command that has a check mode of its own reports what it would do.
        lines = [line for line in result.get("stdout_lines") or [] if line.startswith("would ")]
        yield Change("step", name.rpartition(" : ")[2].replace(" | ", ": "), "", lines)


def command(args: Mapping[str, Any]) -> str:
    """Return a command's words."""
    return str(args.get("_raw_params") or " ".join(map(str, args.get("argv") or [])))


def merged(found: list[Change]) -> list[Change]:
    """Return the changes without repetition: two tasks may change one file."""
    by_name: dict[tuple[str, str], Change] = {}
    for one in found:
        known = by_name.setdefault((one.kind, one.name), one)
        if known is not one:
            known.details += [line for line in one.details if line not in known.details]
            if known.verb != one.verb and "is new" in one.verb:
                known.verb = one.verb
    return list(by_name.values())


def printed(found: list[Change]) -> str:
    """Return the plan as text."""
    lines: list[str] = []
    for kind, heading in HEADINGS.items():
        of_kind = [one for one in found if one.kind == kind]
        if of_kind:
            lines.append(f"{heading}:")
        for one in of_kind:
            lines.append(f"  {one.name} {one.verb}".rstrip())
            lines += [f"    {line}" for line in one.details]
    return "\n".join(lines) or NOTHING


def reason(result: Mapping[str, Any]) -> str:
    """Return why a task failed, in its own words."""
    for key in ("msg", "stderr", "module_stderr", "censored"):
        if text := str(result.get(key) or "").strip():
            return text
    return "no reason given"


class CallbackModule(CallbackBase):
    """Collects the changes of each machine and prints them at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "plan"

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[Change]] = {}
        self.failed: dict[str, list[str]] = {}

    def _take(self, result: Any) -> None:
        task, outcome = result.task, result.result
        if not outcome.get("changed") or "results" in outcome:
            return
        args = result.task_fields.get("args") or {}
        of_host = self.found.setdefault(result.host.get_name(), [])
        of_host += changes(task.resolved_action or task.action, task.get_name(), args, outcome)

    def _would_run(self, result: Any) -> None:
        # Commands cannot be tried: check mode skips those that would run, and says so.
        task, outcome = result.task, result.result
        module = str(task.resolved_action or task.action).rpartition(".")[2]
        told = "check mode" in str(outcome.get("msg"))
        if module in COMMANDS and told and task.changed_when != [False]:
            args = result.task_fields.get("args") or {}
            of_host = self.found.setdefault(result.host.get_name(), [])
            of_host += changes(module, task.get_name(), args, outcome)

    def _refuse(self, result: Any) -> None:
        # Of a loop the item says why, of a block that rescues the cause comes first.
        told = self.failed.setdefault(result.host.get_name(), [])
        if "results" not in result.result and reason(result.result) not in told:
            told.append(reason(result.result))

    def v2_runner_on_ok(self, result: Any) -> None:
        self._take(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._take(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._would_run(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        self._would_run(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._refuse(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._refuse(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._refuse(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the plan of each machine, or why there is none."""
        hosts = sorted(stats.processed)
        plans = {host: merged(self.found.get(host, [])) for host in hosts}
        for host in hosts:
            heading = f"{host}:\n" if len(hosts) > 1 else ""
            if stats.failures.get(host) or stats.dark.get(host):
                told = "\n".join(self.failed.get(host, ["The check failed."]))
                self._display.display(f"{heading}{told}", stderr=True)
            else:
                self._display.display(f"{heading}{printed(plans[host])}")
        if path := self.get_option("json_path"):
            every = [vars(one) | {"host": host} for host in hosts for one in plans[host]]
            Path(path).write_text(json.dumps(every, indent=1), encoding="utf-8")
        sys.stdout.flush()
