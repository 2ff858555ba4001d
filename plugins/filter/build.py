"""What a failed image build printed: its last lines, and advice that fits them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

LAST = 15
# A message of the engine repeats the whole command of a step.
WIDEST = 300

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# BuildKit: "#12 1.234 text" of step 12, and without the number where it repeats what failed.
STEP = re.compile(r"^(?:#\d+ )?(?:\d+\.\d{3}(?: |$))?")
# The builder's own remarks.
NOISE = re.compile(r"^ ---> |^Removing intermediate container ")
# apt colours the letter alone, and the classic builder gives each colour a line.
LETTER = re.compile(r"^[EWN]:$")
REASON = re.compile(r"message: (.*?), logs: \[", re.DOTALL)
REQUEST = re.compile(r"\w+ Error for http\S+ ")

# The first that matches holds: what ends a build is often the consequence of what stands above it.
ADVICE = [
    (
        r"no space left on device",
        "The disk is full: `docker system df` shows what the engine holds, `df` the rest.",
    ),
    (
        r"certificate[ _]verify[ _]failed|self-signed certificate in certificate chain",
        "A proxy of this network opens TLS: give its CA with stack_ca_bundle.",
    ),
    (
        r"Temporary failure (resolving|in name resolution)|Could not resolve|no such host"
        r"|Name or service not known",
        "The build resolves no names: check the DNS of the machine and of the engine (`dns` in "
        "/etc/docker/daemon.json), or name the network's proxy with stack_http_proxy and "
        "stack_https_proxy.",
    ),
    (
        r"Connection timed out|Connection refused|Network is unreachable|Read timed out"
        r"|Failed to establish a new connection|407 +Proxy Authentication",
        "The build does not reach a server: check the network, stack_http_proxy, "
        "stack_https_proxy and stack_pip_index_url.",
    ),
    (
        r"Hash Sum mismatch|File has unexpected size|Release file .* is not valid yet",
        "The package mirror is being updated, or the machine's clock is wrong: check `date`, "
        "then try again.",
    ),
    (
        r"No matching distribution found|Could not find a version that satisfies",
        "pip finds no such version: check src/api/requirements.txt, and that the index has it "
        "for this Python and processor (stack_pip_index_url).",
    ),
    (
        r"unmet dependencies|Unable to locate package|no installation candidate|not installable",
        "The package mirror does not have these versions: choose a newer one, or wait for it to "
        "be updated.",
    ),
    (
        r"-m api\.compile|model\.joblib|model\.json|import api\.",
        "The image's own check refused the model or the code: `make check-model` runs it on this "
        "machine; `git checkout model` brings the committed model back.",
    ),
    (
        r"parse error|unknown instruction|(COPY|ADD) failed|failed to compute cache key",
        "The Dockerfile or its context is wrong: compare it with the committed one (`git diff`).",
    ),
]


def log(result: Mapping[str, Any]) -> list[str]:
    """Return what a build printed, a line each: without colours, step numbers and empty lines.

    `result` is the module's: the classic builder's log is a list in its message. Text of a
    command line (stdout, stderr) serves as well.
    """
    message = str(result.get("msg") or "")
    head, _, listed = message.partition(", logs: [")
    if listed:
        try:
            entries = [str(entry) for entry in ast.literal_eval("[" + listed)]
        except (SyntaxError, ValueError):
            entries = listed.splitlines()
        found = REASON.search(message)
        entries.append(found[1] if found else head)
    else:
        entries = [REQUEST.sub("", message)]
    entries += [str(result.get(key) or "") for key in ("stdout", "stderr")]
    lines: list[str] = []
    for line in "\n".join(entries).splitlines():
        text = STEP.sub("", ANSI.sub("", line)).rstrip()
        if not text.strip() or NOISE.match(text):
            continue
        if lines and LETTER.match(lines[-1]):
            lines[-1] += f" {text.strip()}"
        elif lines and text.startswith("Step ") and lines[-1].startswith("Step "):
            # A step that printed nothing came from the cache.
            lines[-1] = text
        else:
            lines.append(text)
    return lines


def build_tail(result: Mapping[str, Any], last: int = LAST) -> list[str]:
    """Return the last lines of a build, none of them wider than a message needs."""
    return [
        line if len(line) <= WIDEST else f"{line[: WIDEST - 3]}..." for line in log(result)[-last:]
    ]


def build_advice(result: Mapping[str, Any]) -> str:
    """Return what to do about it; empty: the lines have to speak for themselves."""
    text = "\n".join(line for line in log(result) if not line.startswith("Step "))
    return next((advice for sign, advice in ADVICE if re.search(sign, text, re.IGNORECASE)), "")


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"build_tail": build_tail, "build_advice": build_advice}
