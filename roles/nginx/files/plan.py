#!/usr/bin/env python3
"""Say how a rendered configuration differs from the live one, and have Nginx test it.

Usage: plan.py LIVE_DIR [COMMAND...] <TEXTS

TEXTS is a JSON object: file name -> content. COMMAND is what tests them; TREE in it becomes the
folder that holds them for that time. Prints a line for each directive that goes or comes. Exit
code 1 and Nginx' words where the test fails. Nothing that runs is touched.
"""

import difflib
import json
import pathlib
import subprocess
import sys
import tempfile


def directives(text: str) -> list[str]:
    """Return the lines that say something."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main(live_dir: str, *command: str) -> int:
    texts = json.load(sys.stdin)
    live = pathlib.Path(live_dir)
    known = {path.name: path.read_text(encoding="utf-8") for path in live.glob("*.conf")}
    # The one that carries the name differs whenever another does.
    for name in sorted((texts.keys() | known.keys()) - {"version.conf"}):
        before, after = (directives(files.get(name, "")) for files in (known, texts))
        for line in list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]:
            if not line.startswith("@@"):
                print(f"{name}: {line[0]} {line[1:]}")
    if not command:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder)
        tree.chmod(0o755)
        for name, text in texts.items():
            (tree / name).write_text(text, encoding="utf-8")
            (tree / name).chmod(0o644)
        test = [word.replace("TREE", folder) for word in command]
        done = subprocess.run(test, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr.strip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
