"""The life of a second stack: tests/run_lifecycle.sh. LIFECYCLE=short leaves parts out."""

import os

import pytest

from scripts import passes
from target import is_this_machine


def test_a_stack_lives(subtests: pytest.Subtests) -> None:
    if not is_this_machine():
        pytest.skip("the second stack runs on the machine itself: run make test-lifecycle there")
    if os.geteuid() != 0:
        pytest.skip("a second stack needs root")
    passes(subtests, "tests/run_lifecycle.sh", os.environ)
