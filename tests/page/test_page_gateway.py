"""The status page of the running gateway, as a browser sees it."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import HttpCredentials, expect

from direct import Gateway
from page.conftest import Visit
from page.fake_gateway import POLICY

PATHS = (
    *("/", "/status/status.css", "/status/status.js", "/status/dygraph.min.js"),
    *("/status/now.json", "/status/series.json", "/status/alerts.json"),
)


@pytest.fixture
def user(stack: dict[str, str]) -> dict[str, Any]:
    parts = urlsplit(stack["GATEWAY_URL"])
    return {
        "http_credentials": HttpCredentials(
            username=stack["API_USER"],
            password=stack["API_PASSWORD"],
            origin=f"{parts.scheme}://{parts.netloc}",
        )
    }


@pytest.fixture
def url(stack: dict[str, str]) -> str:
    return stack["GATEWAY_URL"].rstrip("/")


def test_the_page_shows_the_stack_and_stays_in_its_budget(
    url: str, user: dict[str, Any], visit: Visit
) -> None:
    watched = visit(url, **user)
    page = watched.page
    expect(page.locator("#updated")).to_have_text(re.compile(r"Updated \d+ s ago"))
    expect(page.locator(".summary", has_text="Unknown so far")).to_have_count(0)
    expect(page.locator(".age:visible")).to_have_count(0)
    expect(page.locator("#facts .value").first).to_have_text(re.compile(r"^\d+ of \d+$"))
    expect(page.get_by_role("row").filter(has_text=re.compile("api-v1-1")).first).to_be_visible()
    wrong = [(path, status) for path, status in watched.answers if status not in (200, 304, 401)]
    assert wrong == []
    assert {path for path, status in watched.answers if status in (200, 304)} == set(PATHS)


@pytest.mark.parametrize(("version", "replica"), [("v1", r"v1-\d"), ("v2", r"v2-\d")])
def test_the_box_asks_the_chosen_version(
    url: str, user: dict[str, Any], visit: Visit, version: str, replica: str
) -> None:
    page = visit(url, **user).page
    expect(page.locator(".summary", has_text="Unknown so far")).to_have_count(0)
    page.get_by_role("textbox", name="Sentence").fill("What a lovely surprise, thank you!")
    page.get_by_role("radio", name=version).check()
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer .label")).to_have_text(re.compile(r"^[a-z]+$"))
    expect(page.locator("#answer dl")).to_contain_text(re.compile(f"Replica{replica}"))
    expect(page.locator("#answer .mono")).to_have_text(re.compile(r"^[0-9a-f]{32}$"))


def test_the_page_has_the_policy_that_it_was_tested_under(
    url: str, user: dict[str, Any], visit: Visit
) -> None:
    watched = visit(url, **user)
    expect(watched.page.locator(".summary", has_text="Unknown so far")).to_have_count(0)
    assert watched.headers["content-security-policy"] == POLICY
    assert watched.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
def test_nothing_of_the_page_comes_without_a_password(stack: dict[str, str], path: str) -> None:
    gateway = Gateway(stack)
    gateway.request("GET", path)
    assert gateway.getresponse().status == 401
    gateway.close()
