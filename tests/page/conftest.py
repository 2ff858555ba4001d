"""What the tests of the status page share: Chromium, the fake gateway, a page that is watched."""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from page.browser import Watched, chromium, find_chromium, trusting
from page.fake_gateway import FakeGateway, fake_gateway
from page.supplies import missing, reason

ROOT = Path(__file__).resolve().parents[2]
ASKED_FOR = ("GATEWAY_URL", "GATEWAY_CA", "API_USER", "API_PASSWORD")

Visit = Callable[..., Watched]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Return what is said of the gateway here, or else by `make env`; nothing if nobody knows."""
    asked_for = (*ASKED_FOR, "GATEWAY_ADDRESS")
    found = {name: os.environ[name] for name in asked_for if os.environ.get(name)}
    if not found.keys() >= set(ASKED_FOR):
        done = subprocess.run(
            ("make", "--silent", "env"), cwd=ROOT, capture_output=True, text=True, check=False
        )
        words = shlex.split(done.stdout) if done.returncode == 0 else []
        found = dict(word.split("=", 1) for word in words if "=" in word) | found
    return found if all(found.get(name) for name in ASKED_FOR) else {}


# Until the end of a file only: Playwright keeps an event loop running, and the tests of another
# tier that this process may run next start their own.
@pytest.fixture(scope="module")
def browser(environment: dict[str, str]) -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip(reason("chromium"))
    known = trusting(environment) if environment else []
    with chromium(path, *known) as started:
        yield started


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    """Serve the page, whole: without its plot library, almost every test would see a broken one."""
    if "libjs-dygraphs" in missing():
        pytest.skip(reason("libjs-dygraphs"))
    with fake_gateway() as made:
        yield made


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Give pages that are opened where the test says; each has to end clean."""
    contexts: list[BrowserContext] = []
    pages: list[Watched] = []

    def open_page(
        url: str, *, before: Callable[[Watched], Any] | None = None, **options: Any
    ) -> Watched:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(10_000)
        watched = Watched(context.new_page(), url)
        pages.append(watched)
        if before:
            before(watched)
        watched.open()
        return watched

    yield open_page
    try:
        for watched in pages:
            watched.assert_clean()
    finally:
        for context in contexts:
            context.close()


@pytest.fixture
def stack(environment: dict[str, str]) -> dict[str, str]:
    """Return what is known of the running stack."""
    if not environment:
        pytest.skip("no stack answers here: make start-project")
    return environment
