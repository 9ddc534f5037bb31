"""Numbers of thousands of digits in names and versions, which Python's int refuses by an error of its own."""

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
from attnexport.workflows.predict_inputs import open_source
from attnexport.workflows.validation_structure import _is_hashed


def test_numbers_of_thousands_of_digits_are_read_nowhere(tmp_path: Path) -> None:
    digits = "9" * 5000
    with pytest.raises(ArgumentError, match="sizes with commas"):
        parse_shape(digits)
    specs = [TensorSpec(name, "float32", (None, 1)) for name in ("input_0", "input_1")]
    with pytest.raises(SamplesError, match="but the inputs are"):
        load_samples({f"keras_tensor_{digits}": [[1.0]], "keras_tensor": [[1.0]]}, specs)
    with pytest.raises(SamplesError, match="NUMBER/SIGNATURE/OUTPUT"):
        _outputs(Path("x.npz"), {f"{digits}/s/y": np.ones(1)})
    (tmp_path / "x.csv").write_text(f"x_{digits},x_0\n1,2\n")
    assert read_examples(tmp_path / "x.csv") == [{f"x_{digits}": 1, "x": [2]}]
    for version in (digits, f"2.{digits}", f"3.0.{digits}", f"{digits}.{digits}.{digits}"):
        assert choose_tag(version) == choose_tag("")  # no note of thousands of digits
        assert _is_hashed(VersionEntry(1, "2026-01-01", {}, {"attnexport": version}, "Keras", ()))


def test_json_with_such_numbers_is_refused_in_words_of_its_own() -> None:
    for read in (read_examples, open_source):
        with pytest.raises(SamplesError, match=r"stdin: not JSON.*: a number in it has thousands of digits$"):
            read(b"[" + b"9" * 5000 + b"]")
        with pytest.raises(SamplesError, match=r"stdin: not JSON.*: it is nested too deeply$"):
            read(b"[" * 200_000)
