"""Every parser of bytes from outside, a thousand inputs each; `make fuzz` runs a million."""

from __future__ import annotations

import pytest

from tests.fuzz_targets import targets
from tests.fuzzing import fuzz


@pytest.mark.parametrize("name", targets())
def test_a_parser_refuses_bytes_by_its_own_errors(name: str) -> None:
    fuzz(targets()[name](), 1000, derandomize=True)
