"""Fixtures of the template tests: the gateway's configuration as text and as a tree."""

from collections.abc import Callable
from typing import Any

import pytest

import render
from templates.nginx_tree import Directive, parse


@pytest.fixture(scope="session")
def files() -> dict[str, str]:
    """Every file of the gateway, as the default inventory renders it."""
    return render.nginx_files()


@pytest.fixture(scope="session")
def http(files: dict[str, str]) -> Directive:
    """The http block, with every include in its place."""
    return parse("nginx.conf", files).only("http")


@pytest.fixture(scope="session")
def gateway(http: Directive) -> Directive:
    """The server that takes predictions."""
    servers = [server for server in http.own("server") if server.all("proxy_pass")]
    (found,) = [server for server in servers if server.own("limit_req")]
    return found


@pytest.fixture(scope="session")
def http_with() -> Callable[..., Directive]:
    """Make the http block of another inventory."""

    def make(**overrides: Any) -> Directive:
        return parse("nginx.conf", render.nginx_files(**overrides)).only("http")

    return make
