"""Arrays by input name, from what callers give: arrays, lists, numbers, data frames' columns, tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from attnexport.core.errors import ArgumentError, SamplesError, first_line
from attnexport.core.exact import exact_array
from attnexport.core.signature import Array, Arrays, Signature
from attnexport.serving.codec.dtypes import numpy_dtype

# Anything that numpy makes an array of; by input name, or alone for a signature with a single input.
Inputs = Mapping[str, ArrayLike] | ArrayLike


def arrays_if_complete(inputs: Inputs) -> Arrays | None:
    """The inputs if they leave nothing open: a mapping from names to arrays. None if the signature is needed."""
    if isinstance(inputs, Mapping) and all(isinstance(each, np.ndarray | np.generic) for each in inputs.values()):
        return {name: np.asanyarray(each) for name, each in inputs.items()}
    return None


def arrays_for(inputs: Inputs, signature: Signature) -> Arrays:
    """The inputs as arrays. What has no dtype of its own takes the signature's.

    Raises:
        ArgumentError: for an array alone, if the signature takes several inputs.
        SamplesError: for a value that the signature's dtype cannot hold.
    """
    if not isinstance(inputs, Mapping):
        if len(signature.inputs) != 1:
            names = ", ".join(repr(spec.name) for spec in signature.inputs)
            raise ArgumentError(
                f"signature {signature.name!r} takes {names}; an array alone is for a single input, "
                "give a dict from name to array"
            )
        inputs = {signature.inputs[0].name: inputs}
    dtypes = {spec.name: spec.dtype for spec in signature.inputs}
    return {name: _array(name, value, dtypes.get(name)) for name, value in inputs.items()}


def narrowed(arrays: Arrays, signature: Signature) -> Arrays:
    """The arrays, with int64 in the signature's narrower integer type if it holds every value.

    Example:
        >>> from attnexport.core.signature import TensorSpec
        >>> tokens = TensorSpec("tokens", "int32", (None,))
        >>> signature = Signature("serving_default", (tokens,), (tokens,))
        >>> narrowed({"tokens": np.array([1, 2])}, signature)["tokens"].dtype.name
        'int32'
        >>> narrowed({"tokens": np.array([2**40])}, signature)["tokens"].dtype.name
        'int64'
    """
    wanted = {spec.name: spec.dtype for spec in signature.inputs if spec.is_integer}
    return {name: _narrow(array, wanted.get(name)) for name, array in arrays.items()}


def _narrow(array: Array, dtype: str | None) -> Array:
    if dtype is None or array.dtype != np.int64 or dtype == "int64":
        return array
    bounds = np.iinfo(dtype)
    fits = not array.size or (array.min() >= bounds.min and array.max() <= bounds.max)
    return array.astype(dtype) if fits else array


def _array(name: str, value: Any, dtype: str | None) -> Array:
    """Arrays keep their dtype. Anything else takes the signature's, which must hold all its numbers."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.generic) or dtype is None:
        return np.asarray(value)
    try:
        if dtype == "string":
            return np.asarray(value, dtype=object)
        return exact_array(value, numpy_dtype(dtype))
    except (ValueError, TypeError) as error:
        raise SamplesError(f"input {name!r} cannot be made an array of {dtype}: {first_line(error)}") from error
