"""What the exporter's tests ask of an export."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest


@pytest.fixture(scope="session")
def run() -> Callable[..., dict[str, Any]]:
    """Run a signature of an ExportResult in a session."""
    from attnexport.exporter import SavedModelRunner

    def run_exported(result: Any, inputs: Any, signature: str = "serving_default") -> dict[str, Any]:
        with closing(SavedModelRunner(result.path)) as runner:
            return runner.run(inputs, signature)

    return run_exported


@pytest.fixture(scope="session")
def described() -> Callable[[Any], dict[str, str]]:
    """The signatures of an ExportResult as text, by name."""
    return lambda result: {each.name: str(each) for each in result.saved_model.signatures}
