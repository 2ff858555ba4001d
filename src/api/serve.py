"""Starts the variant that VARIANT names: `python -m api.serve`."""

import gc
import importlib
import importlib.util
import logging
import os
import re

import uvicorn

from api.log import configure_logging
from api.protocol import http_protocol
from api.settings import Settings

BIND = "0.0.0.0"  # noqa: S104 (the container's own network is the fence)
GRACE_SECONDS = 8
"""How long running requests may take after SIGTERM; well under Docker's stop time-out."""
KEEP_ALIVE_SECONDS = 75
"""Longer than the gateway keeps an idle connection: who closes first must be the gateway,
or it would write a request into a connection that is just being closed."""


def main() -> None:
    """Serve until a signal says stop; exit 1 when the service cannot start."""
    variant = os.environ.get("VARIANT", "v1")
    if not re.fullmatch(r"v[0-9]+", variant) or not importlib.util.find_spec(f"api.{variant}"):
        configure_logging(Settings.log_level, Settings.replica)
        logging.getLogger("api").critical("cannot start: VARIANT must name a variant, as in v1")
        raise SystemExit(1)
    # Imported here and not by uvicorn, so that logging stands before uvicorn's first line.
    app = importlib.import_module(f"api.{variant}.main").app
    settings = Settings.from_environment()
    # The model's lists live as long as the process: without this, each full collection walks
    # through all of them while requests wait.
    gc.collect()
    gc.freeze()
    uvicorn.run(
        app,
        host=BIND,
        port=settings.port,
        loop="uvloop",
        http=http_protocol(settings.replica),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nobody here reads the client's address, so no header may claim one.
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


if __name__ == "__main__":
    main()
