"""Names that the gateway's Nginx takes: it does not start where one does not fit its tables."""

import base64
import io
import tarfile
from typing import Any

import pytest
from testinfra.host import Host

import render
from host.stack import SCRATCH

pytestmark = pytest.mark.host

Inspected = dict[str, dict[str, Any]]

# As long as DNS allows. Machines of cloud providers have names of 50 characters and more.
LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


def packed(files: dict[str, str]) -> str:
    """Return the files as an archive that fits a command line."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return base64.b64encode(target.getvalue()).decode()


@pytest.mark.parametrize(
    "hostnames",
    [
        ["n" * 47],
        [LONGEST],
        ["*." + LONGEST[64:]],
        [f"{n}.{LONGEST[64:]}" for n in range(50)],
        ["*.example.org", "api.example.org", "API.example.org"],
    ],
    ids=["47 characters", "the longest", "a long wildcard", "many", "a wildcard and its name"],
)
def test_nginx_takes_names(host: Host, inspected: Inspected, hostnames: list[str]) -> None:
    gateway = inspected["nginx-1"]
    done = host.run(
        f"echo %s | base64 -d | {SCRATCH} --tmpfs /tmp --volumes-from %s --user %s "
        "--entrypoint sh %s -c %s",
        packed(render.nginx_files(stack_hostnames=hostnames)),
        gateway["Id"],
        gateway["Config"]["User"],
        gateway["Image"],
        "mkdir /tmp/tree && tar -xzC /tmp/tree && nginx -t -q -c /tmp/tree/nginx.conf",
    )
    assert (done.rc, done.stderr) == (0, "")
