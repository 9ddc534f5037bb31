"""Quantized inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ai_edge_litert.interpreter import Interpreter

from attnexport.tflite import RECIPES, inspect_tflite

Convert = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(("io", "expected"), [("int8", "int8"), ("uint8", "uint8")])
def test_inputs_and_outputs_have_the_type_asked_for(
    io: str, expected: str, to_tflite: Convert, multi_head: Any, samples: Any
) -> None:
    found = to_tflite(multi_head, RECIPES["int8"].altered(io=io), samples)[f"int8-io-{io}"]
    signature = found.signatures["serving_default"]
    assert (signature.inputs[0].dtype, signature.outputs[0].dtype) == (expected, expected)
    assert found.verdict.worst.measured.sqnr_db >= 25
    runner = Interpreter(model_content=found.content).get_signature_runner("serving_default")
    told = {
        name: tuple(detail["quantization"])
        for details in (runner.get_input_details(), runner.get_output_details())
        for name, detail in details.items()
    }
    assert inspect_tflite(found.content).signatures[0].quantization == told


def test_int16_inputs_and_outputs(to_tflite: Convert, multi_head: Any, samples: Any) -> None:
    found = to_tflite(multi_head, RECIPES["int16x8"].altered(io="int16"), samples)["int16x8-io-int16"]
    assert found.signatures["serving_default"].inputs[0].dtype == "int16"
    assert found.verdict.worst.measured.sqnr_db >= 40
