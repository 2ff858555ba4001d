"""The documentation page: complete, from this service alone, and held to that by the browser."""

import re
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

HERE = "http://testserver/docs"


def linked(page: str) -> list[str]:
    """The addresses that the page loads."""
    return re.findall(r'(?:src|href)="([^"]*)"', page)


def policy(answer: Any) -> dict[str, list[str]]:
    rules = (rule.split() for rule in answer.headers["content-security-policy"].split(";"))
    return {name: values for name, *values in rules}


def test_page_and_every_file_of_it_come_from_this_service(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    addresses = [address for address in linked(answer.text) if not address.startswith("data:")]
    assert len(addresses) == 3
    for address in addresses:
        assert urljoin(HERE, address).startswith("http://testserver/docs/")
        file = client.get(address)
        assert file.status_code == 200
        assert file.headers["content-type"].partition(";")[0] == (
            "text/css" if address.endswith(".css") else "text/javascript"
        )


def test_page_starts_with_our_own_document_and_asks_no_validator(client: TestClient) -> None:
    start = client.get("/docs/start.js").text
    assert 'url: "/openapi.json"' in start
    assert "validatorUrl: null" in start
    assert "http" not in start
    assert client.get("/openapi.json").status_code == 200


def test_browser_is_told_to_load_nothing_from_elsewhere(client: TestClient) -> None:
    rules = policy(client.get("/docs"))
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == ["'self'"]
    assert rules["connect-src"] == ["'self'"]
    allowed = {value for values in rules.values() for value in values}
    assert allowed <= {"'none'", "'self'", "'unsafe-inline'", "data:"}
    assert "'unsafe-inline'" not in rules["script-src"]


def test_page_holds_no_script_of_its_own(client: TestClient) -> None:
    page = client.get("/docs").text
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == ["", ""]
    assert not re.search(r"\son\w+=|javascript:", page)


@pytest.mark.parametrize("path", ["/redoc", "/docs/", "/docs/__init__.py", "/docs/x.js"])
def test_there_is_no_other_page(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_document_lists_what_a_caller_reaches_through_the_gateway(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/predict", "/predict/batch"}
