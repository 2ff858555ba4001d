"""Pictures the status page: docs/status-page.png (light, desktop) and docs/status-page-phone.png.

Of the fake gateway, or with `--gateway` of the real one (GATEWAY_URL, GATEWAY_CA, API_USER,
API_PASSWORD, as `make env` prints them).
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, FloatRect, HttpCredentials, expect

sys.path.insert(0, str(Path(__file__).parents[1]))

from page import canned
from page.browser import Watched, chromium, find_chromium, trusting
from page.fake_gateway import fake_gateway

DOCS = Path(__file__).parents[2] / "docs"
SENTENCE = "What a lovely surprise, thank you!"
MOST_BYTES = 250_000
LOOKS: dict[str, dict[str, Any]] = {
    # Drawn small rather than scaled afterwards: sharp, and within MOST_BYTES.
    "status-page": {
        "viewport": {"width": 1100, "height": 800},
        "device_scale_factor": 0.7,
        "color_scheme": "light",
    },
    "status-page-phone": {
        "viewport": {"width": 360, "height": 740},
        "color_scheme": "dark",
        "is_mobile": True,
        "has_touch": True,
    },
}


# The whole page would be a ribbon.
PHONE_HEIGHT = 1390


def shoot(browser: Browser, url: str, name: str, folder: Path, **more: Any) -> Path:
    """Ask a sentence of v2 on the page and picture all of it."""
    path = folder / f"{name}.png"
    with browser.new_context(**LOOKS[name], reduced_motion="reduce", **more) as context:
        watched = Watched(context.new_page(), url)
        watched.open()
        page = watched.page
        # The last feed is in.
        expect(page.locator(".summary", has_text="Unknown so far")).to_have_count(0)
        page.get_by_role("textbox", name="Sentence").fill(SENTENCE)
        page.get_by_role("radio", name="v2").check()
        page.get_by_role("button", name="Ask").click()
        page.locator("#answer .label").wait_for()
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
        if LOOKS[name].get("is_mobile"):
            height = min(height, PHONE_HEIGHT)
        page.screenshot(
            path=path, full_page=True, clip=FloatRect(x=0, y=0, width=width, height=height)
        )
        watched.assert_clean()
    assert path.stat().st_size < MOST_BYTES, f"{path} has {path.stat().st_size} bytes"
    return path


@contextmanager
def target(real: bool) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    """Yield the address, arguments of Chromium and of its context."""
    if real:
        url = os.environ["GATEWAY_URL"]
        user = HttpCredentials(
            username=os.environ["API_USER"], password=os.environ["API_PASSWORD"], origin=url
        )
        yield url, trusting(os.environ), {"http_credentials": user}
        return
    with fake_gateway() as fake:
        fake.answers["/predict"] = canned.v2()
        fake.answers["/status/alerts.json"] = canned.alerts(canned.alert(*canned.REPLICA_DOWN))
        fake.answers["/status/now.json"] = canned.vector(
            canned.changed("up", 0, job="api", replica="v1-2")
        )
        yield fake.url, [], {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", action="store_true", help="the real one")
    parser.add_argument("--into", type=Path, default=DOCS)
    arguments = parser.parse_args()
    path = find_chromium()
    if path is None:
        sys.exit("No Chromium here. Debian: apt-get install chromium")
    with (
        target(arguments.gateway) as (url, trust, more),
        chromium(path, "--disable-lcd-text", *trust) as browser,
    ):
        for name in LOOKS:
            print(shoot(browser, url, name, arguments.into, **more))


if __name__ == "__main__":
    main()
