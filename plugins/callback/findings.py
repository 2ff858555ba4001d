"""Print what a run of checks finds, as JSON lines that tools/doctor.py reads."""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: findings
type: stdout
short_description: what a run of checks finds, as JSON
description:
  - Prints one JSON object a line, with the keys C(host), C(status), C(role), C(title), C(details).
  - A task named "Check ..." gives the status C(ok), "Warn ..." C(warning), "Note | ..." C(note).
  - Any task that fails gives C(problem).
"""


def subject(task: str) -> dict[str, str]:
    """Return the role and what is checked, of "nginx : Preflight | Check the users"."""
    role, _, name = task.rpartition(" : ")
    text = name.rpartition(" | ")[2]
    for words in ("Check that ", "Check ", "Warn about "):
        text = text.removeprefix(words)
    return {"role": role or "stack", "title": text[:1].upper() + text[1:]}


def reasons(result: dict[str, Any]) -> list[str]:
    """Return why a task failed, one sentence or problem an entry; of a loop, why each item did."""
    failed = [item for item in result.get("results", []) if item.get("failed")] or [result]
    found: list[str] = []
    for item in failed:
        text = item.get("stderr") or item.get("stdout") or item.get("msg") or "no reason given"
        found += str(text).strip().replace("\n- ", "\n").splitlines()
    return list(dict.fromkeys(line for line in found if line))


def finding(task: str, result: dict[str, Any], *, failed: bool) -> dict[str, Any]:
    """Return status, role, title and details of a task's result; empty if it is no finding."""
    words = task.rpartition(" : ")[2].rpartition(" | ")
    details = result.get("msg", [])
    if failed:
        status, details = "problem", reasons(result)
    elif words[2].startswith("Warn "):
        status = "warning"
    elif words[0] == "Note":
        status = "note"
    elif words[2].startswith("Check "):
        status, details = "ok", []
    else:
        return {}
    lines = details if isinstance(details, list) else [str(details)]
    return {"status": status, **subject(task), "details": lines}


class CallbackModule(CallbackBase):  # Ansible ships no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "findings"

    def _print(self, result: Any, *, failed: bool) -> None:
        found = finding(result.task.get_name(), result.result, failed=failed)
        if found:
            sys.stdout.write(json.dumps({"host": result.host.get_name(), **found}) + "\n")
            sys.stdout.flush()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._print(result, failed=False)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._print(result, failed=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._print(result, failed=True)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        sys.stderr.write("The inventory has no such machine.\n")
