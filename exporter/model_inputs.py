"""The inputs of a Keras model, under the names and shapes that they are exported with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import keras

from attnexport.core.errors import ArgumentError, ModelError, check_size, no_such
from attnexport.core.samples import GENERATED_NAME
from attnexport.core.signature import Shape, TensorSpec, duplicates, usable_name

from .models.declared import arguments_of, build_by_call


@dataclass(frozen=True)
class ModelInputs:
    """A model and how its named inputs go into it.

    Attributes:
        model: The `keras.Model`.
        structure: Its inputs as Keras nests them, with leaves in the order of `specs`.
        specs: The inputs as exported.
        keras_names: Exported name to Keras name.
        arguments: The arguments of `call` that take the leaves; empty if the whole structure is the first argument.
    """

    model: Any
    structure: Any
    specs: tuple[TensorSpec, ...]
    keras_names: Mapping[str, str]
    arguments: tuple[str, ...] = ()

    def call(self, tensors: Mapping[str, Any]) -> Any:
        """The model's outputs, nested as Keras gives them, in inference mode."""
        leaves = [tensors[spec.name] for spec in self.specs]
        if self.arguments:
            return self.model(**dict(zip(self.arguments, leaves, strict=True)), training=False)
        return self.model(keras.tree.pack_sequence_as(self.structure, leaves), training=False)


def model_inputs(
    model: Any,
    names: Sequence[str] = (),
    *,
    steps: int | None = None,
    batch: int | None = None,
    shapes: Mapping[str, Shape] | None = None,
    declared: Sequence[TensorSpec] = (),
) -> ModelInputs:
    """Name and fix the inputs of a model.

    Args:
        model: A built `keras.Model`; one whose inputs are declared is built if it is not.
        names: Names for its inputs, in order; if empty, Keras's, and `input` for generated ones.
        steps: Fix the free steps (the second dimension) of its inputs to this.
        batch: Fix the batch to this; free if None, unless the model fixes it.
        shapes: Shapes for inputs by exported or Keras name, None for a dimension to leave as it is.
        declared: The inputs of a model that does not know them itself: by the names of the arguments of its `call`, or
            the entries of the dict that it takes.

    Raises:
        ModelError: if the model was never built, or its inputs are of a kind that cannot be exported.
        ArgumentError: if names or sizes do not fit its inputs.
    """
    arguments = _arguments(model, declared)
    structure = _declared_structure(model, declared, arguments) if declared else _input_structure(model)
    leaves = keras.tree.flatten(structure)
    keras_names = [spec.name for spec in declared] if arguments else _keras_names(structure, leaves)
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
    specs = fix_shapes_of(specs, shapes or {}, dict(zip(keras_names, exported, strict=True)))
    return ModelInputs(model, structure, specs, dict(zip(exported, keras_names, strict=True)), arguments)


def _arguments(model: Any, declared: Sequence[TensorSpec]) -> tuple[str, ...]:
    """The declared inputs in their order, if they are arguments of the model's `call`."""
    if not declared:
        return ()
    if getattr(model, "inputs", None) and not isinstance(model, keras.Sequential):
        known = ", ".join(leaf.name for leaf in model.inputs)
        raise ArgumentError(
            f"model {model.name!r} knows its inputs, {known}: --input declares those of a model that does not"
        )
    return arguments_of(model, declared)


def _declared_structure(model: Any, declared: Sequence[TensorSpec], arguments: Sequence[str]) -> Any:
    """The declared inputs as a model takes them that does not know them; a model that was never built is built."""
    leaves = [keras.KerasTensor(spec.shape or (), dtype=spec.dtype, name=spec.name) for spec in declared]
    structure: Any = leaves[0] if len(leaves) == 1 else dict(zip((spec.name for spec in declared), leaves, strict=True))
    if isinstance(structure, dict) and not arguments:
        # The leaves of a dict are in the order of its sorted keys.
        structure = dict(sorted(structure.items()))
    elif arguments:
        structure = leaves
    if not model.built:
        build_by_call(model, declared)
    return structure


def _input_structure(model: Any) -> Any:
    """The model's inputs as KerasTensors in their nesting."""
    if not model.built:
        raise ModelError(
            f"model {model.name!r} was never built: begin it with keras.Input, call it once on data, or declare its "
            "inputs with --input NAME:DTYPE[SHAPE]"
        )
    # A subclassed model, or a Sequential built without Input, knows only the shapes of its first call.
    if getattr(model, "inputs", None):
        if not isinstance(model, keras.Sequential):
            return keras.tree.map_structure(_dense, model.input)
        # Built by its first call it fixes the batch of that call, which nobody meant.
        first = model.inputs[0]
        return keras.KerasTensor((None, *first.shape[1:]), dtype=first.dtype, name=first.name)
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    if shape is None:
        raise ModelError(
            f"model {model.name!r} is called with several arguments or was never called, and Keras does not keep its "
            "inputs: declare each with --input NAME:DTYPE[SHAPE], such as --input 'tokens:int32[?,128]'"
        )
    dtype = model.variable_dtype

    def tensors(each: Any) -> Any:
        if isinstance(each, dict):
            return {key: tensors(value) for key, value in each.items()}
        if all(size is None or isinstance(size, int) for size in each):
            return keras.KerasTensor((None, *each[1:]), dtype=dtype, name="keras_tensor")
        return [tensors(value) for value in each]

    return tensors(shape)


def input_names(model: Any) -> list[str]:
    """What an export calls the inputs of a model that knows them, in the order of `model.inputs`."""
    structure = _input_structure(model)
    return _default_names(_keras_names(structure, keras.tree.flatten(structure)))


def _dense(leaf: Any) -> Any:
    """An input as a signature takes it: whoever has a sparse one, or rows of several lengths, sends it dense."""
    return keras.KerasTensor(leaf.shape, dtype=leaf.dtype, name=leaf.name) if leaf.sparse or leaf.ragged else leaf


def _keras_names(structure: Any, leaves: list[Any]) -> list[str]:
    if isinstance(structure, dict) and len(structure) == len(leaves):
        # keras.tree flattens a dict in the order of its sorted keys.
        return [str(key) for key in sorted(structure)]
    return [leaf.name for leaf in leaves]


def _default_names(keras_names: Sequence[str]) -> list[str]:
    """Keras's names, except that generated ones become `input`, or `input_0`, `input_1`… if there are several."""
    generated = [index for index, name in enumerate(keras_names) if GENERATED_NAME.fullmatch(name)]
    names = [usable_name(name) for name in keras_names]
    numbered = (name for name in map("input_{}".format, count()) if name not in keras_names)
    for index in generated:
        names[index] = "input" if len(generated) == 1 and "input" not in keras_names else next(numbered)
    return names


def fix_shapes_of(
    specs: Sequence[TensorSpec], shapes: Mapping[str, Shape], aliases: Mapping[str, str] | None = None
) -> tuple[TensorSpec, ...]:
    """The specs with the shapes that are given for some of them, in which None leaves a dimension as it is.

    Raises:
        ArgumentError: for an unknown input, another number of dimensions, or a size that contradicts a fixed one.
    """
    wanted = {(aliases or {}).get(name, name): shape for name, shape in shapes.items()}
    for name in wanted:
        if all(spec.name != name for spec in specs):
            raise ArgumentError(no_such("input", name, [spec.name for spec in specs]))
    return tuple(spec.with_sizes(wanted[spec.name]) if spec.name in wanted else spec for spec in specs)


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
