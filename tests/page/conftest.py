"""What the tests of the status page share: Chromium, the fake gateway, a page that is watched."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from page.browser import Watched, chromium, find_chromium, trusting
from page.fake_gateway import LIBRARY, FakeGateway, fake_gateway

ASKED_FOR = ("GATEWAY_URL", "GATEWAY_CA", "API_USER", "API_PASSWORD")

Visit = Callable[..., Watched]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium here. Debian: apt-get install chromium")
    url, ca = os.environ.get("GATEWAY_URL", ""), os.environ.get("GATEWAY_CA", "")
    with chromium(path, *(trusting(url, ca) if url and ca else [])) as started:
        yield started


@pytest.fixture
def library() -> None:
    if not LIBRARY.exists():
        pytest.skip("no plot library here. Debian: apt-get install libjs-dygraphs")


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
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
def environment() -> dict[str, str]:
    """Return what `make env` prints of the gateway."""
    missing = [name for name in ASKED_FOR if not os.environ.get(name)]
    if missing:
        pytest.skip(f'no {", ".join(missing)} in the environment: eval "$(make -s env)"')
    return {name: os.environ[name] for name in ASKED_FOR}
