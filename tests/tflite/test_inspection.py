"""Inspection, and the traps of field-notes.md that can be seen in a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.tools import flatbuffer_utils

from attnexport.core import ModelError, child_process
from attnexport.exporter import MultiHeadAttentionConcat
from attnexport.tflite import TFLiteRunner, delegation, inspect_tflite
from attnexport.tflite.graph import parse_model, read_graph

pytestmark = pytest.mark.slow


def test_a_file_is_told_by_what_is_in_it(conversions: dict[str, Any]) -> None:
    found = inspect_tflite(conversions["float16"].content)
    assert found.size_bytes == len(conversions["float16"].content)
    # All weights once; the query's, into which its scale is folded, may be there for each signature.
    weights = 4 * 16 * 16 + 32 * 32 + 32 * 10
    assert 2 * weights <= found.constant_bytes["float16"] <= 2 * (weights + 16 * 16 + 200)
    assert found.min_runtime_version is not None
    assert {each.signature.name for each in found.signatures} == {"serving_default", "attention"}
    assert found.advice == ()


@pytest.mark.parametrize(
    ("recipe", "partitions", "left"),
    [
        ("float32", 1, {}),
        ("float16", 1, {}),
        ("dynamic", 1, {}),
        ("int8", 1, {}),
        ("int8-integer-only", 2, {"SOFTMAX": 1}),
    ],
)
def test_the_attention_core_in_float_keeps_one_delegate_partition(
    recipe: str, partitions: int, left: dict[str, int], conversions: dict[str, Any]
) -> None:
    """Integer products are delegated, too, since their right operands have the zero point 0."""
    content = conversions[recipe].content
    for signature, missing in (("serving_default", left), ("attention", None)):
        found = delegation(content, signature)
        assert found is not None
        if missing is not None:
            assert (found.partitions, found.left) == (partitions, missing)
        graph = read_graph(content)
        operators = graph.subgraphs[graph.signatures[signature]].operators
        assert found.taken + sum(found.left.values()) == len(operators)
    advice = inspect_tflite(content).advice
    assert bool(advice) == bool(left)
    if left:
        assert "leaves SOFTMAX to slower kernels" in advice[0]


@pytest.mark.parametrize(("recipe", "whole"), [("float32", True), ("int8", True), ("int8-integer-only", False)])
def test_the_public_api_agrees_on_what_is_delegated(
    recipe: str, whole: bool, to_tflite: Callable[..., Any], multi_head: Any, samples: Any, tmp_path: Any
) -> None:
    from ai_edge_litert.compiled_model import CompiledModel

    from attnexport.tflite import RECIPES

    integer = RECIPES["int8"].altered(integer_only=True)
    chosen = integer if recipe == "int8-integer-only" else recipe
    path = tmp_path / "model.tflite"
    path.write_bytes(to_tflite(multi_head, chosen, samples)[recipe].content)
    assert CompiledModel.from_file(str(path)).is_fully_accelerated() is whole


def test_large_constants_lie_outside_the_flatbuffer(to_tflite: Callable[..., Any]) -> None:
    """From 256 KiB on `data` is None, and a reader that trusts it sees no weights."""
    model = keras.Sequential([keras.Input((4, 300), name="x"), keras.layers.Dense(300), keras.layers.Dense(2)])
    data = np.random.default_rng(0).standard_normal((40, 4, 300)).astype(np.float32)
    found = inspect_tflite(to_tflite(model, "float32", data)["float32"].content)
    assert found.constant_bytes["float32"] >= 300 * 300 * 4


def handmade(tensors: list[tuple[str, list[int]]], operators: list[tuple[str, list[int], list[int]]]) -> bytes:
    """A file of one subgraph from its first tensor to its last: tensors by type and shape, operators by name."""
    schema = flatbuffer_utils.schema_fb
    model, subgraph, definition = schema.ModelT(), schema.SubGraphT(), schema.SignatureDefT()
    model.version, model.buffers = 3, [schema.BufferT()]
    codes = sorted({name for name, _, _ in operators})
    model.operatorCodes = [schema.OperatorCodeT() for _ in codes]
    for made, name in zip(model.operatorCodes, codes, strict=True):
        made.builtinCode = getattr(schema.BuiltinOperator, name)
        made.deprecatedBuiltinCode = min(made.builtinCode, 127)  # which stands for all later ones
    subgraph.tensors, subgraph.operators = [schema.TensorT() for _ in tensors], [schema.OperatorT() for _ in operators]
    for number, (tensor, (dtype, shape)) in enumerate(zip(subgraph.tensors, tensors, strict=True)):
        tensor.name, tensor.shape, tensor.buffer = f"t{number}".encode(), shape, 0
        tensor.type = getattr(schema.TensorType, dtype.upper())
    for operator, (name, inputs, outputs) in zip(subgraph.operators, operators, strict=True):
        operator.opcodeIndex, operator.inputs, operator.outputs = codes.index(name), inputs, outputs
    last = len(tensors) - 1
    subgraph.inputs, subgraph.outputs = [0], [last]
    definition.signatureKey, definition.subgraphIndex = b"serving_default", 0
    definition.inputs, definition.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    definition.inputs[0].name, definition.inputs[0].tensorIndex = b"x", 0
    definition.outputs[0].name, definition.outputs[0].tensorIndex = b"y", last
    model.subgraphs, model.signatureDefs = [subgraph], [definition]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    model = parse_model(content)
    change(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def test_activation_memory_is_the_most_that_is_alive_at_once() -> None:
    def most(third: list[int], dtype: str = "float32") -> int:
        last = ("RELU", third, [3]) if len(third) == 1 else ("ADD", third, [3])
        operators = [("RELU", [0], [1]), ("RELU", [1], [2]), last]
        tensors = [(dtype, [size]) for size in (10, 100, 5, 1)]
        return inspect_tflite(handmade(tensors, operators)).signatures[0].activation_bytes

    assert most([2]) == 4 * (10 + 100)
    assert most([0, 2]) == 4 * (10 + 100 + 5)  # the input lives on
    assert most([2], "bool") == 10 + 100
    assert most([2], "int4") == 5 + 50
    assert most([2], "string") == 0  # their bytes are known when it runs


def test_signatures_are_told_as_the_interpreter_has_them(conversions: dict[str, Any]) -> None:
    content = conversions["int8-integer-only"].content
    found = {each.signature.name: each.signature for each in inspect_tflite(content).signatures}
    assert found == TFLiteRunner(content, raw=True).signatures
    assert found["serving_default"].inputs[0].dtype == "int8"


def test_what_does_not_load_is_looked_into_all_the_same(conversions: dict[str, Any]) -> None:
    content = conversions["float32"].content
    whole = inspect_tflite(content)

    def flexed(model: Any) -> None:
        code = model.operatorCodes[0]
        code.customCode, code.builtinCode, code.deprecatedBuiltinCode = b"FlexErf", 32, 32

    def unknown(model: Any) -> None:
        code = model.operatorCodes[0]
        code.customCode, code.builtinCode, code.deprecatedBuiltinCode = b"Mystery", 32, 32

    for change, name, told in ((flexed, "FlexErf", "operators (FlexErf)"), (unknown, "Mystery", "does not load: ")):
        found = inspect_tflite(changed(content, change))
        assert [each.signature for each in found.signatures] == [each.signature for each in whole.signatures]
        seen = [each for each in found.signatures if name in each.operators]
        assert seen
        for each in seen:
            assert each.delegation is None
            assert told in (each.undelegated or "")
    assert delegation(changed(content, flexed), "serving_default") is None


def test_control_flow_is_named() -> None:
    found = inspect_tflite(handmade([("float32", [1])] * 2, [("CALL_ONCE", [0], [1])])).signatures[0]
    assert "control flow (CALL_ONCE)" in (found.undelegated or "")


def test_a_file_without_signatures_is_told_by_its_tensors(conversions: dict[str, Any]) -> None:
    found = inspect_tflite(changed(conversions["float32"].content, lambda model: setattr(model, "signatureDefs", [])))
    assert [each.signature.name for each in found.signatures] == ["main"]
    assert found.signatures[0].signature.inputs[0].shape == (1, 12, 16)
    assert found.signatures[0].delegation is not None
    assert "it has no signatures" in found.advice[0]


def test_a_signature_that_is_not_there_is_told(conversions: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"no signature 'nope'; it has '.*serving_default'"):
        delegation(conversions["float32"].content, "nope")


def _set_subgraph(model: Any) -> None:
    model.signatureDefs[0].subgraphIndex = 99


def _set_input(model: Any) -> None:
    model.signatureDefs[0].inputs[0].tensorIndex = 9999


def _set_output(model: Any) -> None:
    model.signatureDefs[0].outputs[0].tensorIndex = 2**32 - 1


def _set_operand(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = np.array([10**6, 1], np.int32)


def _set_result(model: Any) -> None:
    model.subgraphs[0].operators[-1].outputs = np.array([-2], np.int32)


def _set_code(model: Any) -> None:
    model.subgraphs[0].operators[0].opcodeIndex = 77


def _set_scales(value: float) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if tensor.quantization is not None and tensor.quantization.scale is not None:
                tensor.quantization.scale = np.full(len(tensor.quantization.scale), value, np.float32)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set_subgraph, "signature '.*' is subgraph 99, of 2 there are"),
        (_set_input, "input 'sequence' is tensor 9999, of"),
        (_set_output, "output '.*' is tensor 4294967295, of"),
        (_set_operand, "an operator takes tensor 1000000, of"),
        (_set_result, "an operator gives tensor -2, of"),
        (_set_code, "an operator has code 77, of"),
        (_set_scales(float("nan")), "holds NaN, where finite positive scales are expected"),
        (_set_scales(float("inf")), "holds inf, where finite"),
        (_set_scales(0), "holds 0, where finite"),
        (lambda model: setattr(model.subgraphs[0].tensors[-1], "buffer", 999), "damaged"),
        (lambda model: setattr(model.signatureDefs[0], "inputs", []), "has no input, without which"),
    ],
)
def test_damage_that_takes_the_interpreter_down_is_refused_before(
    change: Callable[[Any], None], told: str, conversions: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match=told):
        inspect_tflite(changed(conversions["int8"].content, change))


def test_damage_that_nobody_thought_of_takes_down_only_a_child(
    conversions: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "_BOOTSTRAP", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(ModelError, match=r"it crashes the interpreter \(signal 11\)"):
        inspect_tflite(conversions["int8"].content)


def test_a_free_batch_breaks_the_partition_and_is_told(tmp_path: Any) -> None:
    inputs = keras.Input((None, 8), name="x")
    model = keras.Model(inputs, MultiHeadAttentionConcat(2, 8, 4)(inputs))
    archive = keras.export.ExportArchive()
    spec = tf.TensorSpec((None, None, 8), tf.float32, name="x")
    archive.add_endpoint("serving_default", lambda x: model(x, training=False), [spec])
    archive.write_out(str(tmp_path), verbose=False)
    found = inspect_tflite(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path)).convert())
    assert found.signatures[0].delegation is not None
    assert found.signatures[0].delegation.partitions > 1
    assert "free dimensions break the delegate's partitions" in found.advice[0]


def test_trap_unnamed_calibration_samples_leave_parts_float(multi_head: Any, tmp_path: Any, samples: Any) -> None:
    """TFLiteConverter, several signatures: without names one signature is calibrated, with no error."""
    archive = keras.export.ExportArchive()
    spec = tf.TensorSpec((1, 12, 16), tf.float32, name="sequence")
    for name in ("serving_default", "other"):
        archive.add_endpoint(name, lambda sequence: multi_head(sequence, training=False), [spec])
    archive.write_out(str(tmp_path), verbose=False)

    def converted(named: bool) -> set[str]:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path), signature_keys=["serving_default", "other"])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        every = [[sample[None]] for sample in samples[:4]]
        if named:
            every = [(name, {"sequence": one}) for name in ("serving_default", "other") for (one,) in every]
        converter.representative_dataset = lambda: iter(every)
        graph = read_graph(bytes(converter.convert()))
        return {
            subgraph.tensors[operator.outputs[0]].dtype
            for subgraph, operator in graph.operators
            if operator.name == "FULLY_CONNECTED"
        }

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own interpreter
        assert converted(named=True) == {"int8"}
        assert "float32" in converted(named=False)


def test_trap_no_samples_give_the_float_model(exported_classifier: Any) -> None:
    """TFLiteConverter with an empty dataset: no error, and no activation is quantized."""
    saved_model = str(exported_classifier.path)
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter([])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = read_graph(bytes(converter.convert()))
    tensors = [tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors]
    assert not any(tensor.quantized and not tensor.constant_bytes for tensor in tensors)
