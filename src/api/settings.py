"""The service's settings, read once from the environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(ValueError):
    """A variable holds what the service cannot use; the message names the variable."""


@dataclass(frozen=True)
class Settings:
    """What differs from one container to the next; the defaults suit the image."""

    replica: str = "local"
    """Name of this replica, sent as X-Served-By: letters, digits, `_`, `-`, at most 64."""
    model_dir: Path = Path("/app/model")
    """Folder that holds model.joblib and model.json."""
    log_level: str = "info"
    """One of LOG_LEVELS; at `warning` and above the line for each request is left out."""
    port: int = 8000
    """TCP port to listen on, 1 to 65535."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read REPLICA, MODEL_DIR, LOG_LEVEL and PORT.

        Raises:
            SettingsError: a value is out of its range.
        """
        replica = environ.get("REPLICA", cls.replica)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", replica):
            raise SettingsError("REPLICA must be 1 to 64 letters, digits, '_' or '-'")
        log_level = environ.get("LOG_LEVEL", cls.log_level).lower()
        if log_level not in LOG_LEVELS:
            raise SettingsError(f"LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}")
        port = environ.get("PORT", str(cls.port))
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
            raise SettingsError("PORT must be a number from 1 to 65535")
        model_dir = Path(environ.get("MODEL_DIR", cls.model_dir))
        if not model_dir.is_dir():
            raise SettingsError("MODEL_DIR must be a folder that can be read")
        return cls(replica=replica, model_dir=model_dir, log_level=log_level, port=int(port))
