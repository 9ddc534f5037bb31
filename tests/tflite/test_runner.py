"""The Runner over the LiteRT interpreter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from attnexport.core import ArgumentError, ModelError, SamplesError, batched
from attnexport.tflite import TFLiteRunner, inspect_tflite
from attnexport.tflite.graph import parse_model


def test_it_has_the_names_and_shapes_of_the_signature(conversions: dict[str, Any]) -> None:
    runner = TFLiteRunner(conversions["int8"].content)
    assert sorted(map(str, runner.signatures.values())) == [
        "attention(sequence: float32 [1, 12, 16]) -> (attention_block: float32 [1, 4, 12, 12])",
        "serving_default(sequence: float32 [1, 12, 16]) -> (logits: float32 [1, 12, 10])",
    ]


def test_quantized_tensors_are_float_unless_raw(conversions: dict[str, Any], samples: Any, multi_head: Any) -> None:
    content = conversions["int8-integer-only"].content
    raw, plain = TFLiteRunner(content, raw=True), TFLiteRunner(content)
    assert raw.signatures["serving_default"].inputs[0].dtype == "int8"
    assert plain.signatures["serving_default"].inputs[0].dtype == "float32"
    one = {"sequence": samples[:1]}
    answer = plain.run(one)["logits"]
    assert answer.dtype == np.float32
    # As the library's own runner tells them.
    told = Interpreter(model_content=content).get_signature_runner("serving_default")
    scale, zero = told.get_input_details()["sequence"]["quantization"]
    integers = np.clip(np.round(samples[:1] / scale) + zero, -128, 127).astype(np.int8)
    counts = raw.run({"sequence": integers})["logits"]
    assert counts.dtype == np.int8
    scale, zero = told.get_output_details()["logits"]["quantization"]
    np.testing.assert_allclose((counts.astype(np.float64) - zero) * scale, answer, rtol=1e-6)
    assert np.abs(answer - multi_head.predict(samples[:1], verbose=0)).max() < 0.3


def test_any_number_of_samples_in_the_batch_of_the_file(conversions: dict[str, Any], samples: Any) -> None:
    runner = TFLiteRunner(conversions["float32"].content)
    together = batched(runner, {"sequence": samples[:5]})["logits"]
    single = [runner.run({"sequence": samples[index : index + 1]})["logits"] for index in range(5)]
    np.testing.assert_array_equal(together, np.concatenate(single))


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((1, 12, 15), np.float32), r"has shape \[1, 12, 15\]; \[1, 12, 16\] is expected"),
        (np.zeros((2, 12, 16), np.float32), r"has shape \[2, 12, 16\]; \[1, 12, 16\] is expected"),
        (np.zeros((12, 16), np.float32), r"has shape \[12, 16\]"),
        (np.zeros((1, 12, 16), np.float64), "has dtype float64; float32 is expected"),
    ],
)
def test_what_does_not_fit_is_said(array: Any, told: str, conversions: dict[str, Any]) -> None:
    """The interpreter alone says 'XNNPack delegate failed to reshape runtime'."""
    with pytest.raises(SamplesError, match=told):
        TFLiteRunner(conversions["int8"].content).run({"sequence": array})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_no_integer_stands_for_is_refused(value: float, conversions: dict[str, Any], samples: Any) -> None:
    """NaN would become some integer, and the answer look like any other."""
    broken = samples[:1].copy()
    broken[0, 3, 2] = value
    with pytest.raises(SamplesError, match="input 'sequence' holds NaN or infinity, which int8 does not have"):
        TFLiteRunner(conversions["int8-integer-only"].content).run({"sequence": broken})
    logits = TFLiteRunner(conversions["float32"].content).run({"sequence": broken})["logits"]
    assert not np.isfinite(logits).all()


def _point_nowhere(definition: Any) -> None:
    definition.outputs[0].tensorIndex = 9999


def _drop_inputs(definition: Any) -> None:
    definition.inputs = []


@pytest.mark.parametrize(
    ("change", "told"), [(_point_nowhere, "does not load: .*9999"), (_drop_inputs, "does not load: .*has no input")]
)
def test_a_damaged_signature_is_content_and_no_bug(
    change: Callable[[Any], None], told: str, conversions: dict[str, Any]
) -> None:
    model = parse_model(conversions["float32"].content)
    change(model.signatureDefs[0])
    with pytest.raises(ModelError, match=told):
        TFLiteRunner(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


def test_names_that_are_not_there(conversions: dict[str, Any], samples: Any) -> None:
    runner = TFLiteRunner(conversions["int8"].content)
    with pytest.raises(SamplesError, match="missing 'sequence', unknown 'x'"):
        runner.run({"x": samples[:1]})
    with pytest.raises(ArgumentError, match="no signature 'scores'"):
        runner.run({"sequence": samples[:1]}, "scores")
    runner.close()
    with pytest.raises(ArgumentError, match="was closed"):
        runner.run({"sequence": samples[:1]})


@pytest.mark.parametrize("keep", [0, 7, 100, 2000])
def test_files_that_are_none_are_refused(
    keep: int, conversions: dict[str, Any], written: Callable[[bytes], Path]
) -> None:
    path = written(conversions["int8"].content[:keep])
    for look in (TFLiteRunner, lambda path: inspect_tflite(path.read_bytes())):
        with pytest.raises(ModelError):
            look(path)


def test_random_bytes_and_missing_files_are_told(tmp_path: Path, written: Callable[[bytes], Path]) -> None:
    with pytest.raises(ModelError, match=r"is not a \.tflite file"):
        TFLiteRunner(written(np.random.default_rng(0).bytes(5000)))
    with pytest.raises(ArgumentError, match="does not exist"):
        TFLiteRunner(tmp_path / "nowhere.tflite")
    with pytest.raises(ModelError, match="cannot be read"):
        TFLiteRunner(tmp_path)


def test_two_runners_of_one_file_do_not_disturb_each_other(conversions: dict[str, Any], samples: Any) -> None:
    first, second = (TFLiteRunner(conversions["dynamic"].content) for _ in range(2))
    before = first.run({"sequence": samples[:1]})["logits"]
    second.run({"sequence": samples[1:2]})
    np.testing.assert_array_equal(before, first.run({"sequence": samples[:1]})["logits"])
