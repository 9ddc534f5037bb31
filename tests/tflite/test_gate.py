"""The gate: what is wrong with a .tflite is found before it takes its name, a crash included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.tools import flatbuffer_utils

from attnexport.core import GateError, ParityError, batched
from attnexport.core.runner import RecordedRunner
from attnexport.core.signature import Signature, TensorSpec
from attnexport.parity import Case, distance
from attnexport.tflite import RECIPES, TFLiteRunner, gate_tflite
from attnexport.tflite.graph import parse_model, read_graph
from attnexport.tflite.probe import probe
from attnexport.tflite.statistics import HEADROOM

pytestmark = pytest.mark.slow

Written = Callable[[bytes], Path]


class Reference(RecordedRunner):
    """Answers by the Keras model."""

    def __init__(self, model: Any) -> None:
        free = tuple(TensorSpec(*each) for each in [("sequence", "float32", (None, 12, 16))])
        gives = (TensorSpec("logits", "float32", (None, 12, 10)),)
        super().__init__({"serving_default": Signature("serving_default", free, gives)})
        self._model = model

    def run(self, inputs: Any, signature: str = "serving_default") -> Any:
        return {"logits": self._model.predict(inputs["sequence"], verbose=0)}


@pytest.fixture
def reference(multi_head: Any) -> Reference:
    return Reference(multi_head)


@pytest.fixture
def gate(reference: Reference, samples: Any, written: Written) -> Callable[..., Any]:
    def run(content: bytes, recipe: str = "int8", **options: Any) -> Any:
        cases = [Case("samples", {"sequence": samples[:8]})]
        options.setdefault("signatures", reference.signatures)
        chosen = options.pop("of", RECIPES[recipe])
        return gate_tflite(written(content), chosen, reference, cases, **options)

    return run


def rebuilt(content: bytes, change: Callable[[Any], None]) -> bytes:
    model = parse_model(content)
    change(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def test_a_right_file_passes(gate: Callable[..., Any], conversions: dict[str, Any]) -> None:
    passed = gate(conversions["int8"].content)
    assert passed.verdict
    assert passed.probe.peak_memory_bytes > 10_000_000
    assert passed.verdict.worst.measured.sqnr_db >= 25


@pytest.mark.parametrize(
    ("made_by", "said_to_be", "told"),
    [
        ("float32", "int8", "0% of its weights are int8; there is 100% float32"),
        ("dynamic", "int8", "nothing in it is computed in int8"),
        ("float32", "float16", "0% of its weights are float16; there is 100% float32"),
        ("dynamic", "int4", "0% of its weights are int4; there is 100% int8"),
        ("dynamic", "int16x8", "nothing in it is computed in int16"),
    ],
)
def test_a_file_that_is_not_what_it_is_said_to_be(
    made_by: str, said_to_be: str, told: str, gate: Callable[..., Any], conversions: dict[str, Any]
) -> None:
    """A converter that is given no usable samples returns the float model, same size, no error."""
    with pytest.raises(GateError) as caught:
        gate(conversions[made_by].content, said_to_be)
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"the {said_to_be} .tflite was not kept: ")


def test_int8_is_not_integer_only(gate: Callable[..., Any], conversions: dict[str, Any]) -> None:
    with pytest.raises(GateError, match=r"in float compute 3 BATCH_MATMUL.*2 SOFTMAX"):
        gate(conversions["int8"].content, of=RECIPES["int8"].altered(integer_only=True))


def test_other_numbers_are_parity_and_nan_is_not(gate: Callable[..., Any], conversions: dict[str, Any]) -> None:
    content = conversions["float32"].content
    weights = next(
        each.buffer
        for subgraph, operator in read_graph(content).operators
        for each in subgraph.weights(operator)
        if each.shape == (10, 32)
    )

    def scaled(factor: float) -> Callable[[Any], None]:
        def change(model: Any) -> None:
            values = np.frombuffer(bytes(model.buffers[weights].data), np.float32) * np.float32(factor)
            model.buffers[weights].data = np.frombuffer(values.tobytes(), np.uint8)

        return change

    with pytest.raises(ParityError, match=r"max error .* worst at \["):
        gate(rebuilt(content, scaled(1.01)), "float32")
    with pytest.raises(GateError, match="holds NaN or infinity at"):
        gate(rebuilt(content, scaled(float("nan"))), "float32")


def test_swapped_names_and_missing_signatures(gate: Callable[..., Any], conversions: dict[str, Any]) -> None:
    missing = {"scores": Signature("scores", (TensorSpec("x", "float32", (1,)),), (TensorSpec("y", "float32", (1,)),))}
    with pytest.raises(GateError, match="its signature 'scores' is missing; it has"):
        gate(conversions["int8"].content, signatures=missing)

    def renamed(model: Any) -> None:
        definition = next(each for each in model.signatureDefs if each.signatureKey == b"serving_default")
        definition.outputs[0].name = b"probabilities"

    with pytest.raises(GateError, match="outputs 'probabilities' instead of 'logits'"):
        gate(rebuilt(conversions["int8"].content, renamed))


def test_a_crash_of_the_interpreter_is_a_verdict(conversions: dict[str, Any], written: Written) -> None:
    """NaN for a scale, as litert-quantizer writes it of NaN in the calibration, takes the process down."""

    def spoiled(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if tensor.quantization is not None and tensor.quantization.scale is not None:
                tensor.quantization.scale = np.full(len(tensor.quantization.scale), np.nan, np.float32)

    path = written(rebuilt(conversions["int8"].content, spoiled))
    with pytest.raises(GateError, match=r"it crashes the interpreter \(signal \d+\)"):
        probe(path, [])


def test_a_candidate_that_crashes_is_not_chosen(conversions: dict[str, Any], samples: Any, multi_head: Any) -> None:
    from attnexport.tflite.candidates import Candidate, best

    def spoiled(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if tensor.quantization is not None and tensor.quantization.scale is not None:
                tensor.quantization.scale = np.full(len(tensor.quantization.scale), np.nan, np.float32)

    right = conversions["int8"].content
    wanted = {"logits": multi_head.predict(samples[:2], verbose=0)}
    few = [Case("two", {"sequence": samples[:2]}, "serving_default", wanted)]
    found = [Candidate(rebuilt(right, spoiled), "minmax", "minmax"), Candidate(right, "minmax-wide", "minmax")]
    assert best(found, few, "int8", held_out=len(few)).calibrator == "minmax-wide"


def test_of_a_few_samples_that_prefer_narrow_ranges_by_less_than_their_steps_the_headroom_counts(
    to_tflite: Callable[..., Any],
) -> None:
    """Ten held-out samples seldom exceed the ranges of forty others; of later ones many do."""
    keras.utils.set_random_seed(0)
    x = keras.Input((16,), name="x")
    last, *hidden = [keras.layers.Dense(3)] + [keras.layers.Dense(32, activation="relu") for _ in range(2)]
    model = keras.Model(x, last(hidden[0](hidden[1](x))))
    few, later = (
        np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32) for seed, n in ((1, 56), (7, 300))
    )
    conversion = to_tflite(model, ["int8"], few)["int8"]
    assert HEADROOM.get(conversion.calibrator, 0.0) > 1
    outputs = batched(TFLiteRunner(conversion.content), {"x": later})
    assert distance(np.asarray(model(later)), next(iter(outputs.values()))).sqnr_db >= 28


def test_the_types_of_inputs_and_outputs_are_those_of_the_recipe(
    gate: Callable[..., Any], conversions: dict[str, Any]
) -> None:
    with pytest.raises(GateError, match="'sequence' of 'serving_default' is float32; uint8 is expected"):
        gate(conversions["int8"].content, of=RECIPES["int8"].altered(io="uint8"))


def test_some_weights_are_not_all(
    gate: Callable[..., Any], to_tflite: Callable[..., Any], multi_head: Any, samples: Any
) -> None:
    content = to_tflite(multi_head, RECIPES["int8"].altered(keep_float=["hidden"]), samples)["int8"].content
    with pytest.raises(GateError, match=r"57% of its weights are int8"):
        gate(content)


def test_what_the_child_says_is_passed_on(written: Written) -> None:
    with pytest.raises(GateError, match=r"^it is not a \.tflite file"):
        probe(written(b"no flatbuffer at all"), [])


def test_trap_variables_that_nobody_sets_are_refused(gate: Callable[..., Any], multi_head: Any) -> None:
    """`from_concrete_functions` of a Keras 3 model: VAR_HANDLE and READ_VARIABLE, and no error anywhere."""
    function = tf.function(lambda x: {"logits": multi_head(x)}, autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec((1, 12, 16), tf.float32, name="sequence"))
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], multi_head).convert()
    with pytest.raises(GateError, match=r"it holds variables \(.*READ_VARIABLE.*\)"):
        gate(content, "float32")


def test_flex_operators_are_refused_unless_allowed(gate: Callable[..., Any], conversions: dict[str, Any]) -> None:
    def flexed(model: Any) -> None:
        model.operatorCodes[0].customCode = b"FlexErf"

    content = rebuilt(conversions["float32"].content, flexed)
    with pytest.raises(GateError, match=r"TensorFlow's own operators \(FlexErf\)"):
        gate(content, "float32")
    passed = gate(content, "float32", allow_flex=True)
    assert passed.probe is None
    assert passed.verdict.findings == ()


def test_a_budget_of_ones_own(gate: Callable[..., Any], conversions: dict[str, Any]) -> None:
    with pytest.raises(ParityError, match=r"\(70 dB needed\)"):
        gate(conversions["int8"].content, of=replace(RECIPES["int8"], min_sqnr_db=70))
