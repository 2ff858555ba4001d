"""Runs scripts where mounts, routes and interfaces are their own."""

import os
import shutil
import subprocess

import pytest


def in_namespace(script: str) -> str:
    """Run a script in network and mount namespaces of its own; skip where that is not allowed."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("a network namespace of one's own needs root, unshare and ip")
    command = ["unshare", "--net", "--mount", "bash", "-euc", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "unshare failed" in done.stderr:
        pytest.skip(f"no namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout
