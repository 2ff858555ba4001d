"""What the command knows of its stack: /etc/<stack>/stack.json, written by Ansible."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        """Read the settings from a JSON file, or from the JSON object itself.

        Raises:
            OSError: the file cannot be read.
            ValueError: it holds no JSON.
            TypeError: it names something else than the fields of this class.
        """
        text = source if source.startswith("{") else Path(source).read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)
        folders = {name: Path(value) for name, value in found.items() if name.endswith("_dir")}
        return cls(**{**found, **folders})

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
    def access_log(self) -> Path:
        return self.log_dir / "access.log"

    @property
    def metrics(self) -> Path:
        return self.metrics_dir / "stack.prom"
