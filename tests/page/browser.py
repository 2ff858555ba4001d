"""Debian's Chromium, and a page in it that is watched: what it said, asked and broke."""

import base64
import hashlib
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

import direct

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
# Collected in the page, since a console line of a refused style does not tell what it was.
_WITNESS = """
window.broken = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.broken.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}`);
});
"""


def find_chromium() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium(path: str, *arguments: str) -> Iterator[Browser]:
    """Start it without a proxy: nothing is asked but the gateway."""
    # Root needs it, and nothing but our own page is opened.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-proxy-server", *sandbox, *arguments]
        )
        try:
            yield browser
        finally:
            browser.close()


def trusting(environment: Mapping[str, str]) -> list[str]:
    """Have Chromium find the gateway that `make env` names and trust the certificate that it shows.

    That is held against the CA first: Chromium looks into a data base of its user for authorities,
    which is not ours to change.
    """
    gateway = direct.Gateway(environment)
    gateway.connect()
    shown = ssl.DER_cert_to_PEM_cert(gateway.sock.getpeercert(binary_form=True) or b"")
    gateway.close()
    key = subprocess.run(
        ["openssl", "x509", "-pubkey", "-noout"],
        input=shown.encode(),
        capture_output=True,
        check=True,
    ).stdout
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "der"], input=key, capture_output=True, check=True
    ).stdout
    digest = base64.b64encode(hashlib.sha256(der).digest()).decode()
    return [
        f"--ignore-certificate-errors-spki-list={digest}",
        f"--host-resolver-rules=MAP {gateway.host} {gateway.address}",
    ]


class Watched:
    """A page and all that went on in it."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.console: list[str] = []
        self.errors: list[str] = []
        self.urls: list[str] = []
        # Of the page itself.
        self.headers: dict[str, str] = {}
        # (path, status)
        self.answers: list[tuple[str, int]] = []
        page.add_init_script(_WITNESS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.urls.append(request.url))
        page.on(
            "response",
            lambda answer: self.answers.append((urlsplit(answer.url).path, answer.status)),
        )

    def _heard(self, message: Any) -> None:
        # A refused request is a line of the browser's own; the page shows it, and so it is tested.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.console.append(message.text)

    def open(self) -> None:
        answer = self.page.goto(self.origin + "/")
        assert answer is not None
        self.headers = answer.headers

    def assert_clean(self) -> None:
        """Hold that nothing broke, nothing was against the policy and no other host was asked."""
        assert self.errors == []
        assert self.console == []
        assert self.page.evaluate("window.broken") == []
        foreign = [u for u in self.urls if not u.startswith((self.origin + "/", "data:"))]
        assert foreign == []
