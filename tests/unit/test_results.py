"""Why a task failed, in the words of what failed."""

from typing import Any

import pytest

from plugins.filter.results import failure_reason


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"msg": "port is taken"}, "port is taken"),
        ({"msg": "non-zero return code", "stderr": "not healthy"}, "not healthy"),
        ({"msg": "non-zero return code", "stderr": ""}, "non-zero return code"),
        (
            {
                "msg": "One or more items failed",
                "results": [{"failed": False, "msg": "ok"}, {"failed": True, "msg": "no memory"}],
            },
            "no memory",
        ),
        ({}, "no reason given"),
    ],
)
def test_the_reason_is_that_of_what_failed(result: dict[str, Any], reason: str) -> None:
    assert failure_reason(result) == reason
