"""`ax.status`, `ax.metadata` and `ax.predict`: the results of the commands, from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import attnexport as ax

Run = Callable[..., tuple[int, str, str]]
X = np.arange(15, dtype="f").reshape(5, 3)


def test_python_gets_the_same_results(attnexport: Run, server: Any, tmp_path: Path) -> None:
    def shown(name: str, *words: str) -> str:
        code, out, _ = attnexport(name, "--server", server.address, "--model", "m", *words)
        assert code == 0
        return out.rstrip("\n")

    np.savez(tmp_path / "x.npz", x=X)
    connection = ax.Connection("m", server.address)
    assert str(ax.status(connection)) == shown("status")
    assert str(ax.metadata(connection)) == shown("metadata")
    for samples in (X, X.tolist(), {"x": X}, "x.npz"):
        result = ax.predict(samples, connection, batch=2)
        np.testing.assert_array_equal(result.prediction["y"], 2 * X + 3)
        assert str(result) == shown("predict", "--input", "x.npz", "--batch", "2")
        assert "<p>m version 3, serving_default" in result._repr_html_()
