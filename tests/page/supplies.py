"""What the tests of the status page need of this machine: a browser, and the page's plot library.

As a program, run by `make test`: installs what is missing, where that is Debian's to install and
needs no password, and says so before. The tests skip with the reason where something stays missing.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# The first parent is the folder of the tests: run as a program, it is not known yet.
sys.path.insert(0, str(Path(__file__).parents[1]))

from page.browser import find_chromium

OS_RELEASE = Path("/etc/os-release")
# Where Debian's libjs-dygraphs puts it; the gateway's image has a copy.
LIBRARY = Path("/usr/share/javascript/dygraphs/dygraph.min.js")

# Debian's package -> whether what it brings is here, and what that is.
SUPPLIES: dict[str, tuple[Callable[[], bool], str]] = {
    "chromium": (lambda: find_chromium() is not None, "Chromium"),
    "libjs-dygraphs": (lambda: LIBRARY.exists(), "plot library"),
}


def missing() -> list[str]:
    """Return the packages whose contents are not here."""
    return [package for package, (is_here, _) in SUPPLIES.items() if not is_here()]


def reason(package: str) -> str:
    """Return why a test that wants the package's contents is skipped."""
    return f"no {SUPPLIES[package][1]} here. Debian: apt-get install {package}"


def installable(packages: list[str]) -> list[str]:
    """Return those that apt-get installs here: Ubuntu's Chromium is a snap, not a package."""
    if not shutil.which("apt-get"):
        return []
    words = OS_RELEASE.read_text(encoding="utf-8").splitlines() if OS_RELEASE.exists() else []
    return packages if "ID=debian" in words else [p for p in packages if p != "chromium"]


def root() -> list[str] | None:
    """Return what a command of root's begins with; None where a password would be asked for."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode:
        return None
    return [sudo, "-n"] if sudo else None


def install(prefix: list[str], packages: list[str]) -> str:
    """Install packages, with fresh lists if need be; return apt-get's last line if it failed."""
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    apt += ["--option", "DPkg::Lock::Timeout=300"]
    command = [*apt, "install", "--yes", "--no-install-recommends", *packages]
    for attempt in (command, [*apt, "update"], command):
        done = subprocess.run(
            attempt, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode == 0 and attempt is command:
            return ""
    return (done.stderr.strip() or "apt-get failed").splitlines()[-1]


def main() -> int:
    packages = installable(missing())
    prefix = root()
    if packages and prefix is not None:
        names = " and ".join(packages)
        print(f"Installing Debian's {names} for the tests of the status page", flush=True)
        if problem := install(prefix, packages):
            print(f"{names} could not be installed: {problem}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
