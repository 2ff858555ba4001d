#!/usr/bin/env python3
"""Runs gixy-ng and gixy-next over the gateway's configuration, rendered for the default inventory.

    python tools/check_nginx.py [gixy-ng] [gixy-next]

Fails when one of them finds anything, and when it does not find a flaw that is put into a copy.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import render

# Both come as a package named gixy: one environment each, which `make` fills.
ENVIRONMENTS = render.ROOT / ".cache"
# A proxy_pass with a variable would look its name up at each request, unless it names an upstream.
# $service always does, and upstreams hold addresses (tests/templates); no checker follows a map.
NO_LOOKUP = "missing_resolver", "stale_dns_cache"
# Holds for every port of a host. The default one is localhost, where browsers would then ask
# Prometheus and Grafana for TLS, and whatever else runs there.
NO_HSTS = "hsts_header"
# No --nginx-version: known vulnerabilities go by upstream's number, Debian fixes under the old one.
OPTIONS = {
    "gixy-ng": ["--deep", f"--skips={NO_LOOKUP[0]},{NO_HSTS}"],
    "gixy-next": [f"--skips={NO_LOOKUP[1]}"],
}
# /files../ leads out of the folder.
FLAW = "alias_traversal"
FLAWED = "server { listen 127.0.0.1:8082; location /files { alias /srv/files/; } }\n"


def findings(checker: str, files: dict[str, str]) -> str:
    """Return what the checker says about these files; empty when it has nothing to say."""
    program = ENVIRONMENTS / checker / "bin/gixy"
    if not program.exists():
        sys.exit(f"{checker} is not installed: `make check-nginx` does it")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text)
        command = [str(program), *OPTIONS[checker], f"{folder}/nginx.conf"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    # A file that it cannot find is a warning to it, and no failure.
    return done.stdout + done.stderr if done.returncode or done.stderr else ""


def main() -> int:
    """Run the checkers that the arguments name, or all; 0 is nothing found."""
    files = render.nginx_files()
    last = list(files)[-1]
    flawed = files | {last: files[last] + FLAWED}
    failed = 0
    for checker in sys.argv[1:] or OPTIONS:
        if checker not in OPTIONS:
            sys.exit(f"{checker} is no checker: name {' or '.join(OPTIONS)}")
        if said := findings(checker, files):
            print(f"{checker} found something:\n{said}")
            failed = 1
        elif FLAW not in findings(checker, flawed):
            print(f"{checker} did not find a flaw that was put in ({FLAW} in {last})")
            failed = 1
        else:
            print(f"{checker} found nothing, and the flaw in a copy")
    return failed


if __name__ == "__main__":
    sys.exit(main())
