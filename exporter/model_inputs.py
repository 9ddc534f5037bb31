"""The inputs of a Keras model, under the names and shapes that they are exported with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import keras

from attnexport.core.errors import ArgumentError, ModelError, check_size
from attnexport.core.signature import TensorSpec, duplicates, usable_name

_GENERATED = re.compile(r"(keras_tensor|input_layer)(_\d+)?")


@dataclass(frozen=True)
class ModelInputs:
    """A model and how its named inputs go into it.

    Attributes:
        model: The `keras.Model`.
        structure: Its inputs as Keras nests them, with leaves in the order of `specs`.
        specs: The inputs as exported.
        keras_names: Exported name to Keras name.
    """

    model: Any
    structure: Any
    specs: tuple[TensorSpec, ...]
    keras_names: Mapping[str, str]

    def call(self, tensors: Mapping[str, Any]) -> Any:
        """The model's outputs, nested as Keras gives them, in inference mode."""
        leaves = [tensors[spec.name] for spec in self.specs]
        return self.model(keras.tree.pack_sequence_as(self.structure, leaves), training=False)


def model_inputs(
    model: Any, names: Sequence[str] = (), *, steps: int | None = None, batch: int | None = None
) -> ModelInputs:
    """Name and fix the inputs of a model.

    Args:
        model: A built `keras.Model`.
        names: Names for its inputs, in order; if empty, Keras's, and `input` for generated ones.
        steps: Fix the free steps (the second dimension) of its inputs to this.
        batch: Fix the batch to this; free if None, unless the model fixes it.

    Raises:
        ModelError: if the model was never built, or its inputs are of a kind that cannot be exported.
        ArgumentError: if names or sizes do not fit its inputs.
    """
    structure = _input_structure(model)
    leaves = keras.tree.flatten(structure)
    keras_names = _keras_names(structure, leaves)
    if names and len(names) != len(leaves):
        inputs = ", ".join(keras_names)
        raise ArgumentError(f"{len(names)} names were given for the model's {len(leaves)} input(s): {inputs}")
    exported = list(names) or _default_names(keras_names)
    if repeated := duplicates(exported):
        raise ArgumentError(f"two inputs are called {repeated[0]!r}; name them with --input-name")
    specs = tuple(
        TensorSpec(name, str(leaf.dtype), tuple(leaf.shape)) for name, leaf in zip(exported, leaves, strict=True)
    )
    for axis, what, size in ((0, "batch", batch), (1, "steps", steps)):
        if size is not None:
            specs = fix_size(specs, axis, what, check_size(what, size))
    return ModelInputs(model, structure, specs, dict(zip(exported, keras_names, strict=True)))


def _input_structure(model: Any) -> Any:
    """The model's inputs as KerasTensors in their nesting."""
    if not model.built:
        raise ModelError(f"model {model.name!r} was never built: begin it with keras.Input, or call it once on data")
    # A subclassed model, or a Sequential built without Input, knows only the shapes of its first call.
    if getattr(model, "inputs", None):
        if any(leaf.sparse or leaf.ragged for leaf in model.inputs):
            raise ModelError(f"model {model.name!r} has sparse or ragged inputs; only dense ones can be exported")
        if not isinstance(model, keras.Sequential):
            return model.input
        # Built by its first call it fixes the batch of that call, which nobody meant.
        first = model.inputs[0]
        return keras.KerasTensor((None, *first.shape[1:]), dtype=first.dtype, name=first.name)
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    if shape is None:
        raise ModelError(
            f"model {model.name!r} is called with several arguments or was never called; "
            "wrap it in a functional model with keras.Input"
        )
    dtype = model.variable_dtype

    def tensors(each: Any) -> Any:
        if isinstance(each, dict):
            return {key: tensors(value) for key, value in each.items()}
        if all(size is None or isinstance(size, int) for size in each):
            return keras.KerasTensor((None, *each[1:]), dtype=dtype, name="keras_tensor")
        return [tensors(value) for value in each]

    return tensors(shape)


def _keras_names(structure: Any, leaves: list[Any]) -> list[str]:
    if isinstance(structure, dict) and len(structure) == len(leaves):
        # keras.tree flattens a dict in the order of its sorted keys.
        return [str(key) for key in sorted(structure)]
    return [leaf.name for leaf in leaves]


def _default_names(keras_names: Sequence[str]) -> list[str]:
    """Keras's names, except that generated ones become `input`, or `input_0`, `input_1`… if there are several."""
    generated = [index for index, name in enumerate(keras_names) if _GENERATED.fullmatch(name)]
    names = [usable_name(name) for name in keras_names]
    numbered = (name for name in map("input_{}".format, count()) if name not in keras_names)
    for index in generated:
        names[index] = "input" if len(generated) == 1 and "input" not in keras_names else next(numbered)
    return names


def fix_size(specs: Sequence[TensorSpec], axis: int, what: str, size: int) -> tuple[TensorSpec, ...]:
    """The specs with one dimension fixed wherever it is free; at least one input must have it free or of that size.

    Raises:
        ArgumentError: if all inputs fix it to other sizes.
    """
    fixed, taken = [], False
    for spec in specs:
        shape = list(spec.shape or ())
        if axis < len(shape) and shape[axis] in (None, size):
            shape[axis], taken = size, True
        fixed.append(replace(spec, shape=tuple(shape)))
    if not taken:
        raise ArgumentError(f"{what} cannot be {size}: the inputs are {'; '.join(map(str, specs))}")
    return tuple(fixed)
