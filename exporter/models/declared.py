"""Models that do not know their inputs, built by a call on those that their user declared."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from attnexport.core.errors import ModelError
from attnexport.core.limits import check_memory
from attnexport.core.signature import TensorSpec
from attnexport.exporter.tensorflow_errors import reason

_BYTES = 8  # of an element, as most have, or more than they have


def arguments_of(model: Any, declared: Sequence[TensorSpec]) -> tuple[str, ...]:
    """The declared inputs in their order, if they are arguments of the model's `call`; none if it takes them as one."""
    parameters = inspect.signature(model.call).parameters
    names = tuple(spec.name for spec in declared)
    return names if all(name in parameters for name in names) else ()


def build_by_call(model: Any, declared: Sequence[TensorSpec]) -> None:
    """Build a model by calling it on zeros.

    Raises:
        ContentError: for inputs that would take more than 16 GiB.
        ModelError: if it cannot be called on such inputs.
    """
    shapes = [[size or 1 for size in spec.shape or ()] for spec in declared]
    written = "; ".join(map(str, declared))
    check_memory(_BYTES * sum(map(math.prod, shapes)), f"calling model {model.name!r} on {written}")
    try:
        zeros = [ops.zeros(shape, dtype=spec.dtype) for spec, shape in zip(declared, shapes, strict=True)]
        given = {spec.name: each for spec, each in zip(declared, zeros, strict=True)}
        if arguments_of(model, declared):
            model(**given)
        else:
            model(zeros[0] if len(zeros) == 1 else given)
    except Exception as error:  # a user's layers may raise anything
        raise ModelError(f"model {model.name!r} cannot be called on {written}: {reason(error)}") from error


@contextmanager
def built_when_loaded(registered_name: str | None, declared: Sequence[TensorSpec]) -> Iterator[None]:
    """Have Keras build a model of a registered class by a call, before it gives its weights to it.

    Keras builds a model by the shapes of the first argument of its first call, which several arguments, integers or
    layers that the call makes defeat. It then leaves the weights in the file, with a warning.

    Args:
        registered_name: Of the file's model itself; None leaves all to Keras.
        declared: The inputs; all is left to Keras without them.
    """
    registered: Any = keras.saving.get_registered_object(registered_name) if registered_name and declared else None
    if registered is None:
        yield
        return

    class Built:
        """Stands for the class while Keras reads a file; what it gives is of the class itself."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            model = registered.from_config(config)
            if not model.built:
                build_by_call(model, declared)
            return model

    with keras.saving.custom_object_scope({registered_name: Built}):
        yield
