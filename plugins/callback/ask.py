"""Prints what a command on the machine prints, as it is, and nothing else on standard output.

For programs that read it: `eval "$(make -s env)"`, `make -s status FORMAT=json | jq`. Whatever goes
wrong is on standard error, in one line, and in the exit code.
"""

from __future__ import annotations

import sys
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: ask
    type: stdout
    short_description: prints the output of the machine's command as it is
    description:
      - Standard output and standard error of a command task go where the command wrote them.
      - A failure that is not the command's own is printed to standard error.
"""


def report(host: str, result: dict[str, Any], *, failed: bool) -> tuple[str, str]:
    """What goes to standard output and to standard error for a task's result."""
    # A text that was filled in is a message.
    out = str(result.get("stdout", "" if failed else result.get("msg", "")))
    err = str(result.get("stderr", ""))
    if failed and not out and not err:
        # Ansible's own: a command that is not there, a template that is wrong.
        text = str(
            result.get("msg") or result.get("exception") or "the task failed, without a message"
        )
        words = result.get("cmd")
        err = ": ".join(filter(None, (host, words if isinstance(words, str) else "", text)))
    if failed and result.get("rc"):
        err += f"{chr(10) if err else ''}{host}: it ended with exit code {result['rc']}"
    return tuple(text + "\n" if text else "" for text in (out, err))  # type: ignore[return-value]


class CallbackModule(CallbackBase):  # Ansible ships no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "ask"

    def _print(self, result: Any, *, failed: bool = False) -> None:
        out, err = report(result.host.get_name(), result.result, failed=failed)
        # Not by Ansible's display: it colours, wraps and keeps a log.
        sys.stdout.write(out)
        sys.stdout.flush()
        sys.stderr.write(err)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._print(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._print(result, failed=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._print(result, failed=True)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        sys.stderr.write("The inventory has no such machine.\n")
