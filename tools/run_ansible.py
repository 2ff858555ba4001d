"""Runs Ansible with this checkout's settings: the one way in which make and the scripts start it.

    python tools/run_ansible.py [OPTION...] playbook PLAYBOOK [ARGUMENT...]

It starts the ansible-playbook beside the Python that runs it, and gives it, in this order:

- `-i INVENTORY` of the environment (default: inventory/localhost.yml of the checkout),
- `--ask-become-pass` where sudo on this machine wants a password,
- ARGS of the environment, split as a shell does; JSON may stand in it as it is,
- the values of the options below, then the arguments.

Options, each as often as needed, for values that come from a person:

    --text NAME=TEXT   the extra variable NAME is this text, whatever characters it holds
    --list NAME=TEXT   the same, as one more entry of a list
    --path NAME=PATH   the same, as an absolute path; `~` is the home folder
    --no-become        needs no root, so it asks for no password
    --callback NAME    what a run prints: one of plugins/callback/ (default: Ansible's own)

What a run does must not depend on the user's environment: the locale is pinned, and of the
variables that Ansible, Python and Docker read, only those in LET_THROUGH are passed on.
"""

from __future__ import annotations

import argparse
import json
import locale
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# How to reach a machine and become root there, vaults, and how much is printed. Everything else of
# Ansible's changes what a run is: roles, plugins, inventories, callbacks, tags, check mode.
LET_THROUGH = re.compile(
    r"""ANSIBLE_(
        ASK_.* | BECOME_(?!PLUGINS).* | CONNECTION_PASSWORD_FILE | DEBUG | FORKS | HOME
        | HOST_KEY_CHECKING | LOCAL_TEMP | LOG_PATH | NOCOLOR | PARAMIKO_.*
        | PERSISTENT_.*_TIMEOUT | PIPELINING | PRIVATE_KEY_FILE | REMOTE_.* | SCP_.* | SFTP_.*
        | SSH_.* | TIMEOUT | VAULT_.* | VERBOSITY
    )""",
    re.VERBOSE,
)
# Those of Docker would send a run to another engine than the machine's.
OURS = re.compile(r"_?(ANSIBLE|PYTHON|DOCKER|BUILDKIT|COMPOSE)_?.*")
KEPT = {"DOCKER_CONFIG"}

# What follows them may be JSON, without a space between.
BEFORE_JSON = re.compile(r"(-e=?|--extra-vars=)?(?=[{\[])")


def split(text: str) -> list[str]:
    """Words of a command line, quoted as in a shell. A JSON object or list is one word.

    Raises:
        ValueError: a quotation without an end.
    """
    words: list[str] = []
    position = 0
    while True:
        position += len(text[position:]) - len(text[position:].lstrip())
        if position == len(text):
            return words
        if end := _end_of_json(text, position):
            words.append(text[position:end])
            position = end
            continue
        stream = StringIO(text)
        stream.seek(position)
        lexer = shlex.shlex(stream, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        lexer.commenters = ""
        words.append(lexer.get_token() or "")
        position = stream.tell()


def _end_of_json(text: str, start: int) -> int | None:
    prefix = BEFORE_JSON.match(text, start)
    if not prefix:
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(text, prefix.end())
    except ValueError:
        return None
    return end if text[end : end + 1].strip() == "" else None


def utf8_locale(candidates: Iterable[str] = ("C.UTF-8", "C.utf8", "en_US.UTF-8")) -> str:
    """The first of these locales that this machine has: Ansible starts in none but UTF-8."""
    before = locale.setlocale(locale.LC_ALL)
    for name in candidates:
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        locale.setlocale(locale.LC_ALL, before)
        return name
    return "C.UTF-8"


def environment(given: Mapping[str, str], callback: str | None = None) -> dict[str, str]:
    """The environment of a run, from the user's."""
    kept = {
        name: value
        for name, value in given.items()
        if name in KEPT or LET_THROUGH.fullmatch(name) or not OURS.fullmatch(name)
    }
    for name in [name for name in kept if name.startswith("LC_")]:
        del kept[name]
    kept.pop("LANGUAGE", None)
    name = utf8_locale()
    kept |= {"LC_ALL": name, "LANG": name, "PYTHONUTF8": "1"}
    # By its path: in a folder that everybody may write, Ansible finds none by itself.
    kept["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    if callback:
        kept |= {"ANSIBLE_STDOUT_CALLBACK": callback, "ANSIBLE_VERBOSE_TO_STDERR": "1"}
    return kept


def variables(options: Iterable[tuple[str, str]]) -> list[str]:
    """`--extra-vars` for options of (kind, NAME=VALUE), as JSON: it keeps every character.

    Raises:
        ValueError: one is no assignment.
    """
    found: dict[str, str | list[str]] = {}
    for kind, assignment in options:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"--{kind} {assignment}: write NAME=VALUE")
        if kind == "list":
            found[name] = [*found.get(name, []), value]
        elif kind == "path" and value:
            found[name] = os.path.abspath(os.path.expanduser(value))
        else:
            found[name] = value
    return ["-e", json.dumps(found)] if found else []


def sudo_wants_a_password() -> bool:
    if os.geteuid() == 0:
        return False
    try:
        return subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode != 0  # noqa: S607
    except FileNotFoundError:
        return False


def is_this_machine(inventory: str) -> bool:
    return Path(inventory).resolve() == ROOT / "inventory/localhost.yml"


def _option(kind: str, text: str) -> tuple[str, str]:
    return kind, text


def command(given: Mapping[str, str], arguments: list[str]) -> tuple[list[str], str | None]:
    """The program's command line, and the callback that prints.

    Raises:
        ValueError: ARGS or an option cannot be read; the message says what to write.
    """
    parser = argparse.ArgumentParser(prog="run_ansible.py", add_help=False, allow_abbrev=False)
    parser.add_argument("--callback")
    parser.add_argument("--no-become", action="store_true")
    for kind in ("text", "list", "path"):
        parser.add_argument(
            f"--{kind}",
            dest="variables",
            action="append",
            default=[],
            type=partial(_option, kind),
        )
    parser.add_argument("program", choices=["playbook"])
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    known = parser.parse_args(arguments)

    # Not resolved: a virtual environment's Python is a link to the system's.
    program = Path(sys.executable).parent / "ansible-playbook"
    if not program.exists():
        raise ValueError(f"there is no {program}: let `make` build .venv, and use its Python")
    inventory = given.get("INVENTORY") or str(ROOT / "inventory/localhost.yml")
    try:
        args = split(given.get("ARGS", ""))
    except ValueError as error:
        raise ValueError(f"ARGS={given['ARGS']}: {str(error).lower()}") from error
    root = not known.no_become and is_this_machine(inventory)
    become = ["--ask-become-pass"] if root and sudo_wants_a_password() else []
    # By this Python: the first line of an installed program cannot hold every path.
    line = [sys.executable, str(program), "-i", inventory, *become, *args]
    return [*line, *variables(known.variables), *known.rest], known.callback


def main() -> int:
    try:
        line, callback = command(os.environ, sys.argv[1:])
    except ValueError as error:
        print(f"run_ansible.py: {error}", file=sys.stderr)
        return 2
    sys.stdout.flush()
    # In place of this process: signals reach the run, and its lock belongs to it.
    os.execve(line[0], line, environment(os.environ, callback))  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
