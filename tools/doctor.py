"""Checks the machine and the stack that runs there, on one page: `make doctor`.

The exit code is that of the worst finding: 0 ok, 1 a warning, 2 a problem.
"""

import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXIT = {"ok": 0, "note": 0, "warning": 1, "problem": 2}
COLOURS = {"ok": 32, "note": 36, "warning": 33, "problem": 31}
WIDTH = 100

Finding = dict[str, Any]


def findings(lines: Iterable[str]) -> Iterator[Finding]:
    """Read what plugins/callback/findings.py prints; pass other lines on to standard error."""
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            sys.stderr.write(line)
            continue
        yield found


def page(found: list[Finding], *, colour: bool) -> str:
    """Return the page: a line for each finding, its details below it, and the counts."""
    lines = []
    for host in dict.fromkeys(item["host"] for item in found):
        lines.append(host)
        for item in found:
            if item["host"] == host:
                lines += entry(item, colour=colour)
        lines.append("")
    counts = Counter(item["status"] for item in found)
    lines.append(
        f"{counts['ok']} ok, {plural(counts['warning'], 'warning')}, "
        f"{plural(counts['problem'], 'problem')}"
    )
    return "\n".join(lines)


def entry(item: Finding, *, colour: bool) -> Iterator[str]:
    """Yield the lines of one finding."""
    status = f"{item['status']:<9}"
    if colour:
        status = f"\033[{COLOURS[item['status']]}m{status}\033[0m"
    yield f"  {status}{item['role']:<11}{item['title']}"
    for detail in item["details"]:
        yield from textwrap.wrap(
            detail, WIDTH, initial_indent=" " * 22, subsequent_indent=" " * 22,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip


def plural(number: int, word: str) -> str:
    """Return "1 problem" or "2 problems"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def main() -> int:
    """Run the checks, print the page, and return the exit code."""
    run = [sys.executable, "tools/run_ansible.py", "--callback", "findings", "playbook"]
    with subprocess.Popen(
        [*run, "playbooks/doctor.yml"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        found = list(findings(process.stdout or []))
    if process.returncode and not any(item["status"] == "problem" for item in found):
        print("The checks did not run; the reason stands above.", file=sys.stderr)
        return 2
    print(page(found, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))
    return max(EXIT[item["status"]] for item in found)


if __name__ == "__main__":
    sys.exit(main())
