"""The contract, asked for with curl: tests/run_tests.sh."""

import os

import pytest

from scripts import passes
from target import settings


def test_the_stack_keeps_its_contract(subtests: pytest.Subtests) -> None:
    passes(subtests, "tests/run_tests.sh", os.environ | settings())
