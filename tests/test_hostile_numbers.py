"""Numbers of thousands of digits, where a number is read out of a name or a version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnexport.core import TensorSpec
from attnexport.core.errors import ArgumentError, SamplesError
from attnexport.core.samples import load_samples
from attnexport.core.signature import parse_shape
from attnexport.docker.tags import choose_tag
from attnexport.store import VersionEntry
from attnexport.workflows.device_cases import _outputs
from attnexport.workflows.example_files import read_examples
from attnexport.workflows.validation_structure import _is_hashed


def test_numbers_of_thousands_of_digits_are_read_nowhere(tmp_path: Path) -> None:
    """Python refuses them by an error of its own."""
    digits = "9" * 5000
    with pytest.raises(ArgumentError, match="sizes with commas"):
        parse_shape(digits)
    with pytest.raises(SamplesError, match="but the inputs are"):
        load_samples({f"keras_tensor_{digits}": [[1.0]]}, [TensorSpec("input", "float32", (None, 1))])
    with pytest.raises(SamplesError, match="NUMBER/SIGNATURE/OUTPUT"):
        _outputs(Path("x.npz"), {f"{digits}/s/y": np.ones(1)})
    (tmp_path / "x.csv").write_text(f"x_{digits},x_0\n1,2\n")
    assert read_examples(tmp_path / "x.csv") == [{f"x_{digits}": 1, "x": [2]}]
    for version in (digits, f"2.{digits}", f"{digits}.{digits}.{digits}"):
        assert choose_tag(version)[0] == choose_tag("")[0]
        assert _is_hashed(VersionEntry(1, "2026-01-01", {}, {"attnexport": version}, "Keras", ()))
