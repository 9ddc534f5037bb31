"""The endpoints that a model offers, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from typing import Any

import keras
import tensorflow as tf

from attnexport.core.errors import ArgumentError, no_such
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature, duplicates, usable_name

from .classify import classify_endpoint
from .endpoint import Endpoint, Tensors, TracedEndpoint, check_endpoint_names, trace
from .layers import record_attention_weights
from .model_inputs import ModelInputs
from .models.traits import flat_layers, has_generated_name

OFFERED = (DEFAULT_SIGNATURE, "attention", "classify")  # what models can offer by themselves


def model_endpoints(
    inputs: ModelInputs,
    output_names: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    samples: Arrays | None = None,
    signatures: Sequence[str] = (),
) -> list[TracedEndpoint]:
    """The traced endpoints that a model offers, or those chosen among them.

    Every model offers `serving_default`. A model with attention-concat layers offers `attention`, the weights; one with
    fixed input shapes and one row of scores per sequence offers `classify`, for serialized tf.Example.

    Args:
        inputs: The model and the names of its inputs.
        output_names: Names for its outputs, in order; if empty, Keras's or `output`.
        labels: Names of the classes, for `classify`; their numbers if None.
        samples: Arrays `[n, ...]` by input name to try the model on; without them there is no `classify`.
        signatures: Those to offer beside `serving_default`; all if empty.

    Raises:
        ArgumentError: if names do not fit the outputs, labels do not fit the classes, or a signature is given twice
            or not offered.
        ModelError: if the model cannot be traced.
    """
    recorded: list[str] = []
    own_names = _own_output_names(inputs.model)
    if repeated := duplicates(output_names):
        raise ArgumentError(f"two outputs are called {repeated[0]!r}")

    def predict(tensors: Tensors) -> Tensors:
        with record_attention_weights(in_blocks=True) as weights:
            outputs = inputs.call(tensors)
        # Those of an inner graph (a loop, a branch) cannot leave it, so such a model offers no weights at all.
        graph = tf.compat.v1.get_default_graph()
        reachable = all(getattr(each, "graph", graph) is graph for _, each in weights)
        recorded[:] = [name for name, _ in weights] if reachable else []
        return _name_outputs(outputs, output_names, own_names)

    def attention(tensors: Tensors) -> Tensors:
        with record_attention_weights() as weights:
            inputs.call(tensors)
        names = _attention_names(inputs.model, [name for name, _ in weights])
        return dict(zip(names, (each for _, each in weights), strict=True))

    default = trace(Endpoint(DEFAULT_SIGNATURE, predict, inputs.specs, feed=dict))
    offered = [default.endpoint]
    if recorded:
        offered.append(Endpoint("attention", attention, inputs.specs, feed=dict))
    classify = classify_endpoint(inputs.model, default, labels, samples)
    if classify:
        offered.append(classify)
    elif labels is not None:
        raise ArgumentError(f"labels are for the signature 'classify', {_why_no_classify(default.signature)}")
    return [default, *(trace(each) for each in choose(offered, signatures) if each is not default.endpoint)]


def _why_no_classify(signature: Signature) -> str:
    """Why a model offers no `classify`, as the end of a sentence that names it."""
    for spec in signature.inputs:
        if not spec.is_float and not spec.is_integer:
            return f"which reads numbers from tf.Examples; the input is {spec}; put labels beside the model's answers"
        if spec.shape is None or None in spec.shape[1:]:
            return f"which needs fixed input shapes; the input is {spec}; --steps fixes free steps"
    return f"which needs one row of scores a sequence; the model gives {', '.join(map(str, signature.outputs))}"


def choose(offered: Sequence[Endpoint], names: Sequence[str]) -> list[Endpoint]:
    """The named endpoints with `serving_default` before them; all if no name is given.

    Raises:
        ArgumentError: if a name is given twice, or not offered.
    """
    by_name = {each.name: each for each in offered}
    if not names:
        return list(offered)
    check_endpoint_names(names)
    for name in names:
        if name not in by_name:
            raise ArgumentError(no_such("signature", name, sorted(by_name)))
    return [by_name[name] for name in dict.fromkeys([DEFAULT_SIGNATURE, *names])]


def output_names(model: Any) -> list[str]:
    """What an export calls the outputs of a model that knows them, in the order of `model.outputs`."""
    outputs = model.outputs if isinstance(model, keras.Sequential) else model.output
    return list(_name_outputs(outputs, (), _own_output_names(model)))


def _own_output_names(model: Any) -> list[str]:
    """The names of the layers that give the outputs, if their author chose them, each for one output."""
    names = []
    for output in getattr(model, "outputs", None) or []:
        operation = output._keras_history.operation
        if has_generated_name(operation):
            return []
        names.append(usable_name(operation.name))
    return [] if duplicates(names) else names


def _attention_names(model: Any, calls: list[str]) -> list[str]:
    """Names for the weights of each call of an attention layer.

    The layer's own, with a number from the second call on; `attention`, numbered if there are several, for layers
    whose names Keras made: it numbers those through the process, so they would differ from one export to the next.
    """
    generated = {layer.name for layer in flat_layers(model) if has_generated_name(layer)}
    own = {usable_name(name) for name in calls if name not in generated}
    several = sum(name in generated for name in calls) > 1
    names: list[str] = []
    for name in calls:
        if name in generated:
            base, taken, numbered_from_first = "attention", own, several
        else:
            base = usable_name(name)
            taken, numbered_from_first = own - {base}, False
        numbered = (f"{base}_{number}" for number in count(0 if numbered_from_first else 1))
        candidates = numbered if numbered_from_first else chain([base], numbered)
        names.append(next(each for each in candidates if each not in taken and each not in names))
    return names


def _name_outputs(outputs: Any, names: Sequence[str], own: Sequence[str]) -> Tensors:
    """Outputs by name: the given names, a dict's keys, the layers' own, or `output`, `output_0`, `output_1`.

    A dict in a dict gives `outer_inner`, a list in one `outer_0`.
    """
    flat = keras.tree.flatten(outputs)
    if names and len(names) != len(flat):
        raise ArgumentError(f"{len(names)} names were given for the model's {len(flat)} output(s)")
    if isinstance(outputs, dict):
        # Of nested ones, the keys and numbers on the way: a signature gives a flat dict of tensors.
        own = _usable(["_".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(outputs)])
    numbered = ["output"] if len(flat) == 1 else [f"output_{index}" for index in range(len(flat))]
    return dict(zip(names or own or numbered, flat, strict=True))


def _usable(keys: Sequence[Any]) -> list[str]:
    """Names for the keys of a dict of outputs: themselves, or what can be a name of them, numbered if that is taken."""
    names: list[str] = []
    for key in keys:
        name = usable_name(str(key))
        numbered = (each for each in chain([name], (f"{name}_{number}" for number in count(1))))
        names.append(next(each for each in numbered if each not in names))
    return names
