"""Commands of the stack: for people, and for the runs of Ansible."""

import argparse
import dataclasses
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from . import backup, containers, engine, lock, logs, releases, status, watch
from .certificate import Certificate
from .settings import CertificateSettings, Settings, read

Given = argparse.Namespace
Action = Callable[[Settings, Given], int | None]
# Name -> help and action.
Commands = dict[str, tuple[str, Action]]


def request_id(text: str) -> str:
    """Return a value of X-Request-ID; ValueError if it is none."""
    if not re.fullmatch("[0-9a-f]{32}", text):
        raise ValueError(text)
    return text


def number(text: str) -> int:
    """Return a number of lines or seconds; ValueError if it is not written in digits."""
    if not text.isdigit():
        raise ValueError(text)
    return int(text)


def show_environment(settings: Settings, _: Given) -> None:
    try:
        print(status.environment(settings), end="")
    except PermissionError:
        sys.exit("The credentials are for root: use sudo.")


def show_logs(settings: Settings, given: Given) -> None:
    if given.request:
        logs.trace(settings, given.request)
    else:
        logs.show(settings, given.lines, given.follow)


def keep_certificate(settings: Settings, given: Given) -> None:
    try:
        wanted = CertificateSettings(**read(given.values or str(settings.certificate)))
        if given.renew_days is not None:
            wanted = dataclasses.replace(wanted, renew_days=given.renew_days)
        # Files for root alone, whatever the user's own umask.
        os.umask(0o077)
        for line in given.asked(Certificate(wanted)):
            print(line)
    except PermissionError as error:
        sys.exit(f"{error.filename} is for root: use sudo")


def start_watch(settings: Settings, given: Given) -> None:
    watch.run(settings, [Path(sys.argv[0]), Path(given.settings), settings.watch])


# Options of `certificate`; without one it keeps the certificate in order.
OF_CERTIFICATE = {
    "check": ("only report what it would do", Certificate.check),
    "rotate": ("sign a certificate for a new key now", Certificate.rotate),
    "verify": ("report what is wrong with what clients get", Certificate.verify),
    "check-ca": ("report why the stack's own CA cannot sign", Certificate.check_ca),
}
FOR_PEOPLE: Commands = {
    "status": (
        "containers, certificate; exit code 0 when all is healthy",
        lambda settings, given: status.show(settings, given.form),
    ),
    "logs": ("last lines of every container and the access log", show_logs),
    "env": ("addresses and credentials, for a shell's eval (root)", show_environment),
    "start": (
        "replicas, then the gateway, then the rest; prints what stays unhealthy (root)",
        lambda settings, _: containers.start(settings),
    ),
    "stop": (
        "the other way round; everything is kept (root)",
        lambda settings, _: containers.stop(settings),
    ),
    "certificate": (
        "keep the gateway on a certificate that works; renews one that ends soon (root)",
        keep_certificate,
    ),
    "maintenance": (
        "503 to every client, or predictions again (root)",
        lambda settings, given: status.maintain(settings, given.switch),
    ),
    "releases": (
        "what can be rolled back to, the live one first",
        lambda settings, _: releases.show(settings),
    ),
    "history": (
        "who changed what, and how it ended, the last one last",
        lambda settings, given: lock.show(settings, given.lines),
    ),
}
FOR_RUNS: Commands = {
    "lock": (
        f"take the lock; exit code {lock.BUSY}: busy, {lock.PERHAPS_BUSY}: perhaps busy",
        lambda settings, given: lock.take(settings, given.what, given.who, given.commit),
    ),
    "unlock": (
        "free the lock, and write how the change ended",
        lambda settings, given: lock.end(settings, given.result, given.release),
    ),
    "await": (
        "wait until containers pass their own health checks",
        lambda _, given: containers.wait(given.seconds, given.names),
    ),
    "roll-back": (
        "give replicas that a failed rollout has replaced their old containers",
        lambda settings, _: containers.roll_back(settings),
    ),
    "record": (
        "record what runs as the live release; what it replaced is removed",
        lambda settings, _: releases.record(settings),
    ),
    "release": (
        "print the record of a release, or of the one before the live one",
        lambda settings, given: releases.print_one(settings, given.release),
    ),
    "prune": (
        "remove old releases, and images that nothing needs any more",
        lambda settings, _: releases.prune(settings),
    ),
    "backup": (
        "save the monitoring's data to a file (.tar.gz)",
        lambda settings, given: backup.save(settings.stack, given.file),
    ),
    "restore": (
        "replace the monitoring's data by those of a file",
        lambda settings, given: backup.restore(settings.stack, given.file),
    ),
    "forget-future": (
        "Prometheus keeps its past blocks, and takes metrics again",
        lambda settings, _: backup.forget_future(settings.stack),
    ),
    "watch": ("restart replicas that hang, and write metrics, for ever", start_watch),
}


def listed(commands: Commands) -> str:
    """Return one line for each command."""
    return "\n".join(f"  {name:<15}{text}" for name, (text, _) in commands.items())


def build_parser(program: str) -> argparse.ArgumentParser:
    """Make the parser; --help lists the commands for people, then those for runs."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Shows and switches the stack of this machine.",
        epilog=f"{listed(FOR_PEOPLE)}\n\nfor the runs of Ansible (root):\n{listed(FOR_RUNS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--settings", metavar="FILE", help="settings of the stack, or their JSON")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    of: dict[str, argparse.ArgumentParser] = {}
    for name, (text, action) in (FOR_PEOPLE | FOR_RUNS).items():
        of[name] = commands.add_parser(name, description=text, allow_abbrev=False)
        of[name].set_defaults(action=action)
    forms = of["status"].add_mutually_exclusive_group()
    forms.add_argument("--json", dest="form", action="store_const", const="json", default="table")
    forms.add_argument("--brief", dest="form", action="store_const", const="brief")
    of["logs"].add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    of["logs"].add_argument("--request", type=request_id, metavar="ID", help="an X-Request-ID")
    for name in ("logs", "history"):
        of[name].add_argument("lines", type=number, nargs="?", default=20, metavar="LINES")
    asked = of["certificate"].add_mutually_exclusive_group()
    for name, (text, method) in OF_CERTIFICATE.items():
        asked.add_argument(f"--{name}", dest="asked", action="store_const", const=method, help=text)
    of["certificate"].set_defaults(asked=Certificate.keep)
    of["certificate"].add_argument(
        "--renew-days", type=number, metavar="DAYS", help="renew when fewer than these remain"
    )
    # Of Ansible's runs, before the settings are on the machine.
    of["certificate"].add_argument("--values", help=argparse.SUPPRESS)
    of["maintenance"].add_argument("switch", choices=("on", "off"))
    for name in ("what", "who", "commit"):
        of["lock"].add_argument(name)
    of["unlock"].add_argument("result")
    for name in ("unlock", "release"):
        of[name].add_argument("release", nargs="?")
    of["await"].add_argument("seconds", type=number)
    of["await"].add_argument("names", nargs="+", metavar="name")
    for name in ("backup", "restore"):
        of[name].add_argument("file", type=Path)
    return parser


def become_root() -> None:
    """Go on as root where the engine refuses this user; sudoers decides which commands may."""
    sudo = shutil.which("sudo")
    if os.geteuid() != 0 and not os.access(engine.SOCKET, os.W_OK) and sudo:
        os.execv(sudo, [sudo, os.path.abspath(sys.argv[0]), *sys.argv[1:]])  # noqa: S606


def main(default_settings: str) -> int:
    """Run one command; `default_settings` is the path of the settings on this machine."""
    given = build_parser(Path(sys.argv[0]).name).parse_args()
    become_root()
    given.settings = given.settings or default_settings
    try:
        settings = Settings.load(given.settings)
    except OSError as error:
        sys.exit(f"{error}: `make start-project` writes the settings.")
    engine.use_local()
    action: Action = given.action
    try:
        return action(settings, given) or 0
    except engine.Fault as fault:
        sys.exit(str(fault))
