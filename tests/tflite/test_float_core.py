"""What stays float32 in the int8 recipe."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np

from attnexport.core import batched
from attnexport.parity import distance
from attnexport.tflite import RECIPES, TFLiteRunner
from attnexport.tflite.embeddings import Lookups
from attnexport.tflite.float_core import Places, float_outputs, place, unmatched
from attnexport.tflite.graph import Graph, Operator, Subgraph, Tensor, read_graph
from attnexport.tflite.quantization import _rules

KEEP = RECIPES["int8"].keep_float


def chain(*names: str, weights: str = "FULLY_CONNECTED") -> Graph:
    """Operators one after the other; those called as `weights` bring a matrix."""
    tensors = [Tensor("input", "float32", (1, 4), 0, 0, False)]
    operators = []
    for number, name in enumerate(names):
        inputs = [len(tensors) - 1]
        if name == weights:
            inputs.append(len(tensors))
            tensors.append(Tensor(f"w{number}", "float32", (4, 4), 64, number + 1, False))
        operators.append(Operator(name, tuple(inputs), (len(tensors),)))
        tensors.append(Tensor(f"{number}:{name}", "float32", (1, 4), 0, 0, False))
    return Graph((Subgraph(tuple(tensors), tuple(operators), (0,), (len(tensors) - 1,)),), {"serving_default": 0}, None)


def test_what_lies_between_weights_and_the_core_stays_float() -> None:
    graph = chain(
        "FULLY_CONNECTED", "TRANSPOSE", "BATCH_MATMUL", "ADD", "SOFTMAX", "RESHAPE", "FULLY_CONNECTED", "RELU"
    )
    assert float_outputs(graph, KEEP) == ["1:TRANSPOSE", "2:BATCH_MATMUL", "3:ADD", "4:SOFTMAX", "5:RESHAPE"]


def test_without_core_or_normalization_nothing_does() -> None:
    assert float_outputs(chain("CONV_2D", "ADD", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED"), KEEP) == []


def test_a_product_with_a_constant_is_a_projection() -> None:
    graph = chain("BATCH_MATMUL", "ADD", weights="BATCH_MATMUL")
    assert float_outputs(graph, KEEP) == []


def test_an_operator_with_weights_that_is_kept_float_does_not_spread() -> None:
    graph = chain("FULLY_CONNECTED", "ADD", "FULLY_CONNECTED")
    assert float_outputs(graph, ["0:"]) == ["0:FULLY_CONNECTED"]


def test_names_are_regular_expressions_and_capitals_are_operators() -> None:
    graph = chain("FULLY_CONNECTED", "LOGISTIC", "FULLY_CONNECTED")
    assert float_outputs(graph, ["LOGISTIC"]) == float_outputs(graph, ["1:LOG.*C$"]) == ["1:LOGISTIC"]
    assert unmatched(graph, ["LOGISTIC", "SOFTMAX", "nowhere"]) == ["SOFTMAX", "nowhere"]


def test_of_multi_head_attention_projections_alone_are_int8(conversions: dict[str, Any]) -> None:
    graph = read_graph(conversions["int8"].content)
    for subgraph, operator in graph.operators:
        types = {subgraph.tensors[index].dtype for index in operator.outputs}
        if operator.name in ("FULLY_CONNECTED", "CONCATENATION"):
            assert types == {"int8"}
        elif operator.name in ("BATCH_MATMUL", "SOFTMAX", "TRANSPOSE"):
            assert types == {"float32"}


def test_loops_are_kept_for_integer_activations_alone() -> None:
    """No calibration sees what goes on inside; kernels that quantize on the fly need none."""
    one = chain("FULLY_CONNECTED", "TANH")
    body = Subgraph(one.subgraphs[0].tensors, one.subgraphs[0].operators, (0,), (3,))
    graph = Graph((one.subgraphs[0], body), {"serving_default": 0}, None)
    assert place(graph, RECIPES["int8"]).kept_float == ("0:FULLY_CONNECTED", "1:TANH")
    assert place(graph, RECIPES["dynamic"]).kept_float == ()
    assert place(graph, RECIPES["dynamic"].altered(keep_float=["0:"])).kept_float == ("0:FULLY_CONNECTED",)


def test_what_compares_or_cuts_numbers_stays_float_unless_everything_is_to_be_integer() -> None:
    """Rounded to a scale, 3 is 2.98: not equal to 3, and cut to 2."""
    for name in ("EQUAL", "NOT_EQUAL", "FLOOR", "BITCAST"):
        graph = chain("FULLY_CONNECTED", "RESHAPE", name, "FULLY_CONNECTED")
        assert float_outputs(graph, KEEP) == ["1:RESHAPE", f"2:{name}"]
        assert bool(float_outputs(graph, (), units=False)) == (name == "BITCAST")


def test_what_leads_from_the_inputs_to_a_logarithm_stays_float() -> None:
    spectrum = chain("FULLY_CONNECTED", "SQUARE", "FULLY_CONNECTED", "MAXIMUM", "LOG", "FULLY_CONNECTED")
    exact = ["0:FULLY_CONNECTED", "1:SQUARE", "2:FULLY_CONNECTED", "3:MAXIMUM", "4:LOG"]
    assert float_outputs(spectrum, ()) == exact
    assert float_outputs(spectrum, (), units=False) == []
    assert {"0:FULLY_CONNECTED", "2:FULLY_CONNECTED"} <= {*place(spectrum, RECIPES["dynamic"]).kept_float}
    entropy = chain("FULLY_CONNECTED", "SOFTMAX", "LOG", "FULLY_CONNECTED")
    assert float_outputs(entropy, ()) == ["1:SOFTMAX", "2:LOG"], "the softmax needs no exact scores"
    deep = chain(*["FULLY_CONNECTED"] * 3, "LOG", "FULLY_CONNECTED")
    assert float_outputs(deep, ()) == [], "an activation inside"


def test_a_logarithm_of_quiet_and_loud_sounds_is_quantized_behind_it(to_tflite: Any) -> None:
    """Were all of it quantized, int8 had 3 dB here."""
    keras.utils.set_random_seed(0)
    sound = keras.Input((64,), name="sound")
    bank = keras.layers.Dense(16, use_bias=False, kernel_initializer=keras.initializers.RandomUniform(0, 1))
    levels = keras.ops.log(bank(keras.ops.square(keras.layers.Dense(48)(sound))) + 1e-6)
    model = keras.Model(sound, keras.layers.Dense(4)(keras.layers.Dense(64, "relu")(levels)))
    rng = np.random.default_rng(0)
    samples = (rng.normal(size=(120, 64)) * np.exp(2 * rng.normal(size=(120, 1)))).astype(np.float32)
    expected = np.asarray(model(samples))
    outputs = batched(TFLiteRunner(to_tflite(model, ["int8"], samples)["int8"].content), {"sound": samples})
    assert distance(expected, next(iter(outputs.values()))).sqnr_db >= 30


def test_however_many_operators_stay_float_they_are_one_pattern(conversions: dict[str, Any]) -> None:
    """litert-quantizer searches every pattern for every operator, of which an unrolled GRU has thousands."""
    names = tuple(f"step_{number}" for number in range(600))
    places = Places(names, scopes={name: f"{name};" for name in names})
    rules = _rules(RECIPES["int8"], "minmax", places, Lookups(conversions["float32"].content), {})
    patterns = {each["regex"] for each in rules}
    assert len(patterns) == 2
    assert sum(re.search(each, "step_599;") is not None for each in patterns) == 2
    assert sum(re.search(each, "step_599;more;") is not None for each in patterns) == 1
