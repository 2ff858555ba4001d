"""What the command knows of its stack: /etc/<stack>/stack.json, written by Ansible."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def read(source: str) -> dict[str, Any]:
    """Return the settings of a JSON file, or of the JSON object itself; paths are Path.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no JSON.
    """
    text = source if source.startswith("{") else Path(source).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return {k: Path(v) if k.endswith(("_dir", "_path")) else v for k, v in found.items()}


@dataclass(frozen=True)
class Settings:
    """Names and folders of one stack."""

    stack: str
    stack_dir: Path
    log_dir: Path
    # Where Prometheus' node exporter reads text files.
    metrics_dir: Path
    # Where locks are: they end with the machine.
    run_dir: Path = Path("/run")
    # Of the checkout that installed the stack.
    version: str = "0.0.0"

    @classmethod
    def load(cls, source: str) -> "Settings":
        """Read the settings as `read` does; TypeError if it names something else than these."""
        return cls(**read(source))

    @property
    def command(self) -> Path:
        """Return where the command is installed: what sudo's rules name."""
        return Path("/usr/local/bin") / self.stack

    @property
    def lock(self) -> Path:
        return self.run_dir / f"{self.stack}.lock"

    @property
    def history(self) -> Path:
        return self.stack_dir / "history.jsonl"

    @property
    def releases(self) -> Path:
        return self.stack_dir / "releases"

    @property
    def maintenance(self) -> Path:
        """Return the file that makes the gateway answer 503 to every client."""
        return self.stack_dir / "nginx" / "maintenance"

    @property
    def watch(self) -> Path:
        """Return the file of the watch's own settings."""
        return self.stack_dir / "watch.json"

    @property
    def certificate(self) -> Path:
        """Return the file of the certificate's own settings."""
        return self.stack_dir / "certificate.json"

    @property
    def access_log(self) -> Path:
        return self.log_dir / "access.log"

    @property
    def metrics(self) -> Path:
        return self.metrics_dir / "stack.prom"


@dataclass(frozen=True)
class CertificateSettings:
    """Names and lifetime of the gateway's certificate, and where its files are."""

    stack: str
    # The CA for clients, the folder that the gateway mounts, and the one that root alone reads.
    ca_path: Path
    tls_dir: Path
    secrets_dir: Path
    # Group of the gateway's process.
    group: int
    hostnames: list[str]
    addresses: list[str]
    valid_days: int
    ca_valid_days: int
    renew_days: int
    # Id of the pair that the user brought; empty where the stack's CA signs.
    own: str
    gateway_container: str
    gateway_address: str
