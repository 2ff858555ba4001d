"""`make doctor`: what a run of checks finds, and the page that shows it."""

import json
from typing import Any

import pytest

from doctor import entry, findings, page
from plugins.callback.findings import finding


@pytest.mark.parametrize(
    ("task", "result", "failed", "expected"),
    [
        (
            "nginx : Preflight | Check the users", {"msg": "All assertions passed"}, False,
            {"status": "ok", "role": "nginx", "title": "The users", "details": []},
        ),
        (
            "docker : Preflight | Check that the machine can carry the stack",
            {"msg": "This machine cannot carry the stack yet:\n- No room.\n- No memory."}, True,
            {
                "status": "problem", "role": "docker", "title": "The machine can carry the stack",
                "details": ["This machine cannot carry the stack yet:", "No room.", "No memory."],
            },
        ),
        (
            "api : Verify | Check that every replica answers",
            {"msg": "One or more items failed", "results": [
                {"failed": False, "msg": "fine"}, {"failed": True, "msg": "no answer"},
                {"failed": True, "msg": "no answer"},
            ]}, True,
            {
                "status": "problem", "role": "api", "title": "Every replica answers",
                "details": ["no answer"],
            },
        ),
        (
            "Check that all containers are healthy", {"stdout": "7 of 8", "msg": "rc 1"}, True,
            {
                "status": "problem", "role": "stack", "title": "All containers are healthy",
                "details": ["7 of 8"],
            },
        ),
        (
            "certs : Preflight | Warn about your own certificate", {"msg": ["Ends soon."]}, False,
            {
                "status": "warning", "role": "certs", "title": "Your own certificate",
                "details": ["Ends soon."],
            },
        ),
        (
            "Note | Missing", {"msg": ["nft"]}, False,
            {"status": "note", "role": "stack", "title": "Missing", "details": ["nft"]},
        ),
        ("stack : Survey | Look at the machine", {"stdout": "{}"}, False, {}),
        (
            "stack : Survey | Look at the machine", {"msg": ""}, True,
            {
                "status": "problem", "role": "stack", "title": "Look at the machine",
                "details": ["no reason given"],
            },
        ),
    ],
)  # fmt: skip
def test_a_result_is_a_finding(
    task: str, result: dict[str, Any], failed: bool, expected: dict[str, Any]
) -> None:
    assert finding(task, result, failed=failed) == expected


def item(status: str, host: str = "vm", details: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"host": host, "role": "r", "status": status, "title": "T", "details": [*details]}


def test_lines_that_are_no_finding_are_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps(item("ok")) + "\n", "[WARNING]: something\n"]
    assert list(findings(lines)) == [item("ok")]
    assert capsys.readouterr().err == "[WARNING]: something\n"


def test_the_page_has_a_part_for_each_machine_and_counts_at_the_end() -> None:
    found = [
        item("ok", "a"),
        item("ok", "a"),
        item("problem", "b", ("Why.",)),
        item("warning", "a"),
        item("note"),
    ]
    assert page(found, colour=False).splitlines() == [
        "a",
        "  ok       r          T",
        "  ok       r          T",
        "  warning  r          T",
        "",
        "b",
        "  problem  r          T",
        "                      Why.",
        "",
        "vm",
        "  note     r          T",
        "",
        "2 ok, 1 warning, 1 problem",
    ]


def test_colours_are_escape_codes_around_the_status_only() -> None:
    assert list(entry(item("problem"), colour=True)) == ["  \033[31mproblem  \033[0mr          T"]
