"""State of the stack, maintenance and credentials, for people and for scripts."""

import json
import os
import shlex
import sys
from dataclasses import asdict, dataclass

from . import containers, openssl
from .certificate import Certificate
from .engine import Fault
from .settings import CertificateSettings, Settings, read
from .text import table


@dataclass(frozen=True)
class Status:
    """What `status --json` prints."""

    stack: str
    version: str
    containers: list[containers.Container]
    certificate_days_left: int | None
    certificate_fault: str
    maintenance: bool
    left_out: str

    @property
    def is_healthy(self) -> bool:
        """Tell whether there are containers, all healthy, and a certificate that works."""
        healthy = all(container.is_healthy for container in self.containers)
        return bool(self.containers) and healthy and not self.certificate_fault


def look(settings: Settings) -> Status:
    """Return the state of the stack now."""
    return Status(
        stack=settings.stack,
        version=settings.version,
        containers=containers.find(settings),
        certificate_days_left=certificate_days_left(settings),
        certificate_fault=certificate_fault(settings),
        maintenance=settings.maintenance.exists(),
        left_out=left_out(settings),
    )


def certificate_days_left(settings: Settings) -> int | None:
    """Return whole days until the gateway's certificate ends, or None where none can be read."""
    try:
        folder = CertificateSettings(**read(str(settings.certificate))).tls_dir
        return openssl.read(folder / "server.crt").remaining.days
    except (OSError, Fault):
        return None


def certificate_fault(settings: Settings) -> str:
    """Return what is wrong with the certificate that clients get; empty unless root asks."""
    if os.geteuid() != 0 or not settings.certificate.exists():
        return ""
    wanted = CertificateSettings(**read(str(settings.certificate)))
    try:
        Certificate(wanted).verify()
    except Fault as fault:
        return str(fault)
    return ""


def environment(settings: Settings) -> str:
    """Return the lines that the roles wrote: addresses and credentials.

    Raises:
        PermissionError: the user is not root.
    """
    files = sorted((settings.stack_dir / "secrets").iterdir())
    return "".join(p.read_text(encoding="utf-8") for p in files if p.suffix == ".env")


def left_out(settings: Settings) -> str:
    """Return what the last run left out, and why; empty if nothing, or unless root asks."""
    try:
        lines = environment(settings)
    except OSError:
        return ""
    pairs = (word.partition("=") for word in shlex.split(lines))
    return {name: value for name, _, value in pairs}.get("LEFT_OUT", "")


def brief(status: Status) -> str:
    """Return the state in one line."""
    healthy = [container for container in status.containers if container.is_healthy]
    return (
        f"{status.stack}: {len(healthy)} of {len(status.containers)} containers healthy, "
        f"certificate {status.certificate_days_left} days left"
        + (", in maintenance: clients get 503" if status.maintenance else "")
        + (f", {status.certificate_fault}" if status.certificate_fault else "")
    )


def in_full(status: Status) -> str:
    """Return the state as a table, with a line for each thing that people should know."""
    if not status.containers:
        return f"The stack {status.stack} has no container here. `make start-project` puts it up."
    columns = ("name", "image", "model", "state", "health", "since", "restarts")
    lines = [
        table([asdict(container) for container in status.containers], columns),
        "",
        f"version: {status.version}",
        f"certificate: {status.certificate_days_left} days left",
    ]
    if status.certificate_fault:
        lines.append(f"certificate: {status.certificate_fault}")
    if status.maintenance:
        lines.append(f"maintenance: clients get 503 until `{status.stack} maintenance off`")
    if status.left_out:
        lines.append(f"left out: {status.left_out}")
    return "\n".join(lines)


def show(settings: Settings, form: str) -> int:
    """Print the state as `json`, in one line (`brief`) or as a `table`; return 1 if unhealthy."""
    status = look(settings)
    if form == "json":
        print(json.dumps(asdict(status), indent=2))
    else:
        print(brief(status) if form == "brief" else in_full(status))
    return 0 if status.is_healthy else 1


def maintain(settings: Settings, switch: str) -> None:
    """Switch maintenance "on" or "off"; the gateway looks at each request, so nothing restarts."""
    if switch == "off":
        settings.maintenance.unlink(missing_ok=True)
        print("maintenance is off: the gateway passes requests on")
    elif settings.maintenance.parent.is_dir():
        settings.maintenance.touch()
        print(f"maintenance is on: clients get 503 until `{settings.stack} maintenance off`")
    else:
        sys.exit(
            f"The stack {settings.stack} has no gateway here. `make start-project` puts it up."
        )
