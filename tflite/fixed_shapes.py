"""A SavedModel with the shapes of its signatures fixed, which the converter cannot do itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from attnexport.core.errors import ArgumentError, ModelError, first_line
from attnexport.core.signature import Shape, Signature, TensorSpec

from .float_model import check_convertible


def fix_shapes(
    saved_model: Path,
    path: Path,
    signatures: Mapping[str, Signature],
    names: Sequence[str],
    *,
    batch: int | None = None,
    steps: int | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> dict[str, Signature]:
    """Save signatures of a SavedModel again, with fixed batch and, if given, fixed steps or shapes.

    Args:
        saved_model: The SavedModel.
        path: Directory to write.
        signatures: The SavedModel's signatures by name.
        names: The signatures to keep.
        batch: Size of first dimensions. If None, 1 for free ones; fixed ones stay.
        steps: Size of free second dimensions.
        shapes: Sizes of free dimensions, by input name; None leaves one to the others.

    Returns:
        The signatures as written.

    Raises:
        ArgumentError: for unknown names, for strings, and for dimensions that stay free.
        ModelError: if TensorFlow cannot load or save it.

    Example:
        >>> twice = tf.function(lambda x: {"y": 2 * x}, [tf.TensorSpec((None, None, 3), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=twice)
        >>> spec = TensorSpec("x", "float32", (None, None, 3))
        >>> free = Signature("serving_default", (spec,), (TensorSpec("y", "float32", (None, None, 3)),))
        >>> fixed = fix_shapes(
        ...     Path("model"), Path("fixed"), {"serving_default": free}, ["serving_default"], steps=10
        ... )
        >>> print(fixed["serving_default"].inputs[0])
        x: float32 [1, 10, 3]
    """
    for name in names:
        if name in signatures:
            _check_sizes(signatures[name], batch, steps)
    shapes = shapes or {}
    fixed = {
        name: replace(
            each,
            inputs=tuple(
                _fix(spec.with_sizes(shapes[spec.name]) if spec.name in shapes else spec, batch or 1, steps)
                for spec in each.inputs
            ),
        )
        for name, each in signatures.items()
    }
    check_convertible(fixed, names)
    try:
        loaded = tf.saved_model.load(str(saved_model))
        module = tf.Module()
        module.loaded = loaded  # its variables are found through it
        functions = {name: _wrap(loaded.signatures[name], fixed[name]) for name in names}
        tf.saved_model.save(module, str(path), signatures=functions)
    except Exception as error:  # TensorFlow raises whatever its parts raise
        raise ModelError(f"the shapes of {saved_model} cannot be fixed: {first_line(error)}") from error
    return {name: fixed[name] for name in names}


def _wrap(function: Callable[..., Any], signature: Signature) -> Any:
    specs = [tf.TensorSpec(each.shape, tf.dtypes.as_dtype(each.dtype), name=each.name) for each in signature.inputs]
    names = [each.name for each in signature.inputs]

    def call(*tensors: Any) -> Any:
        return function(**dict(zip(names, tensors, strict=True)))

    return tf.function(call, input_signature=specs, autograph=False)


def _fix(spec: TensorSpec, batch: int, steps: int | None) -> TensorSpec:
    if spec.shape is None:
        return spec
    sizes = dict(enumerate(spec.shape))
    for axis, size in ((0, batch), (1, steps)):
        if axis in sizes and sizes[axis] is None:
            sizes[axis] = size
    return replace(spec, shape=tuple(sizes.values()))


def _check_sizes(signature: Signature, batch: int | None, steps: int | None) -> None:
    """Refuse a size that contradicts every input."""
    for axis, what, size in ((0, "batch", batch), (1, "steps", steps)):
        sizes = {spec.shape[axis] for spec in signature.inputs if spec.shape and axis < len(spec.shape)}
        if size is not None and sizes and not sizes & {None, size}:
            raise ArgumentError(f"{what} cannot be {size}: {signature} fixes it already")
