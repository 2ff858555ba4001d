"""What `make status`, `make env` and the like print: the machine's words, and no others."""

from typing import Any

import pytest

from plugins.callback.ask import report


@pytest.mark.parametrize(
    ("result", "failed", "out", "err"),
    [
        ({"stdout": "A=1\nB=2", "stderr": "", "rc": 0}, False, "A=1\nB=2\n", ""),
        ({"stdout": "", "stderr": "", "rc": 0}, False, "", ""),
        ({"stdout": "A=1", "stderr": "careful", "rc": 0}, False, "A=1\n", "careful\n"),
        ({"msg": "a text"}, False, "a text\n", ""),
        # Unhealthy: JSON that was asked for is printed all the same.
        (
            {"stdout": "{}", "stderr": "", "rc": 1, "msg": "non-zero return code"},
            True, "{}\n", "vm: it ended with exit code 1\n",
        ),
        (
            {"stdout": "", "stderr": "no", "rc": 3, "msg": "non-zero return code"},
            True, "", "no\nvm: it ended with exit code 3\n",
        ),
        ({"msg": "'x' is undefined"}, True, "", "vm: 'x' is undefined\n"),
        ({"cmd": "x env", "msg": "Error.", "rc": 2, "stdout": "", "stderr": ""}, True, "",
         "vm: x env: Error.\nvm: it ended with exit code 2\n"),
        ({}, True, "", "vm: the task failed, without a message\n"),
    ],
)  # fmt: skip
def test_the_commands_output_is_printed_as_it_is(
    result: dict[str, Any], failed: bool, out: str, err: str
) -> None:
    assert report("vm", result, failed=failed) == (out, err)
