"""The endpoints that a model offers, and the choice among them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras

from attnexport.core.errors import ArgumentError, no_such

from .classify import classify_endpoint
from .endpoint import Endpoint, Tensors, TracedEndpoint, check_endpoint_names, trace
from .layers import record_attention_weights
from .model_inputs import ModelInputs


def model_endpoints(
    inputs: ModelInputs, output_names: Sequence[str] = (), labels: Sequence[str] | None = None
) -> list[TracedEndpoint]:
    """The endpoints that a model offers, traced.

    `serving_default` always; `attention`, the weights, where it has attention-concat layers; `classify`, of
    serialized tf.Example, where it takes fixed shapes and gives one row of scores a sequence.

    Args:
        inputs: The model and the names of its inputs.
        output_names: Names for its outputs, in order; Keras's or `output` where empty.
        labels: The classes' names, for `classify`; their numbers where None.

    Raises:
        ArgumentError: for names that do not fit the outputs, or labels that do not fit the classes.
        ModelError: where the model cannot be traced.
    """
    recorded: list[str] = []

    def predict(tensors: Tensors) -> Tensors:
        with record_attention_weights() as weights:
            outputs = inputs.call(tensors)
        recorded[:] = list(weights)
        return _name_outputs(outputs, output_names)

    def attention(tensors: Tensors) -> Tensors:
        with record_attention_weights() as weights:
            inputs.call(tensors)
        return {re.sub(r"[^A-Za-z0-9_.\-]", "_", name): each for name, each in weights.items()}

    default = trace(Endpoint("serving_default", predict, inputs.specs, feed=dict))
    offered = [default]
    if recorded:
        offered.append(trace(Endpoint("attention", attention, inputs.specs, feed=dict)))
    classify = classify_endpoint(inputs, default.signature, predict, labels)
    if classify:
        offered.append(trace(classify))
    elif labels is not None:
        raise ArgumentError(
            "labels are for the signature 'classify', which needs fixed input shapes and one row of scores a "
            f"sequence; the model gives {', '.join(map(str, default.signature.outputs))}"
        )
    return offered


def choose(offered: Sequence[TracedEndpoint], names: Sequence[str]) -> list[TracedEndpoint]:
    """The named endpoints with `serving_default` before them; all where no name is given.

    Raises:
        ArgumentError: for a name twice, or one that is not offered.
    """
    by_name = {each.endpoint.name: each for each in offered}
    if not names:
        return list(offered)
    check_endpoint_names(names)
    for name in names:
        if name not in by_name:
            raise ArgumentError(no_such("signature that this model offers called", name, by_name))
    return [by_name[name] for name in dict.fromkeys(["serving_default", *names])]


def _name_outputs(outputs: Any, names: Sequence[str]) -> Tensors:
    """Outputs by name: those asked for, else a dict's keys, else `output`, or `output_0`, `output_1` and so on."""
    flat = keras.tree.flatten(outputs)
    if names and len(names) != len(flat):
        raise ArgumentError(f"the model has {len(flat)} outputs, and {len(names)} names were given for them")
    if names:
        return dict(zip(names, flat, strict=True))
    if isinstance(outputs, dict):
        return {str(key): outputs[key] for key in sorted(outputs)}
    return {"output" if len(flat) == 1 else f"output_{index}": each for index, each in enumerate(flat)}
