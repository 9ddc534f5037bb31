"""Checks of a request against a signature: in the order of TF Serving's, and in words that begin with its own.

Clients, probes and tests look for those words; what follows them helps a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnexport.core.errors import no_such, one_of
from attnexport.core.signature import Arrays, Signature, TensorSpec, dtype_name, fits, format_shape
from attnexport.core.signature_def import METHOD_NAMES

from .status import Code, StatusError, invalid

# As tensorflow::DataTypeString names them, if not as numpy does.
_TENSORFLOW_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


def check_method_name(name: str) -> None:
    """Refuse a signature of no known method.

    Args:
        name: The method name in its SignatureDef.

    Raises:
        StatusError: INTERNAL, as TF Serving has it.
    """
    if name not in METHOD_NAMES.values():
        known = ", ".join(METHOD_NAMES.values())
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{known}}}. Was: {name}; that is the method in "
            "the model's signature. Start without --enable_signature_method_name_check",
        )


def check_inputs(signature: Signature, inputs: Arrays, defaults: Arrays, feeds: Any) -> Arrays:
    """The inputs of a request with the signature's defaults for those that it left out, by name.

    Args:
        signature: The signature that is to run.
        inputs: The inputs of the request.
        defaults: The signature's default values.
        feeds: Called in case of an error: the names of the graph's tensors by input name.

    Raises:
        StatusError: INVALID_ARGUMENT for an input that is missing or unknown.
    """
    if len(inputs) == len(signature.inputs):
        for spec in signature.inputs:
            if spec.name not in inputs:
                break
        else:
            return inputs
    names = {spec.name for spec in signature.inputs}
    takes = f"signature {signature.name!r} takes {_listed(signature.inputs)}"
    if len(inputs) > len(names) or (len(inputs) < len(names) and not defaults):
        sent, wanted = ",".join(sorted(inputs)), ",".join(sorted(names))
        extra, missing = ",".join(sorted(inputs.keys() - names)), ",".join(sorted(names - inputs.keys()))
        raise invalid(
            f"input size does not match signature: {len(inputs)}!={len(names)} len({{{sent}}}) != len({{{wanted}}}). "
            f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}. {takes}"
        )
    for name in sorted(names):
        if name not in inputs and name not in defaults:
            raise invalid(
                f"Signature input alias: {name}(feed name: {feeds().get(name, name)}) not found in request and no "
                f"default value provided. Inputs expected to be in the request {{{','.join(sorted(inputs))}}}, or "
                f"default input alias set: {','.join(sorted(defaults))}. {takes}"
            )
    return {name: inputs[name] if name in inputs else defaults[name] for name in names}


def check_outputs(signature: Signature, wanted: Sequence[str]) -> None:
    """Refuse an output filter that names an output twice, or one that does not exist.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    names = [spec.name for spec in signature.outputs]
    for place, name in enumerate(wanted):
        if name not in names:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{{{','.join(sorted(names))}}}. output_filter: {no_such(f'output of {signature.name!r}', name, names)}"
            )
        if name in wanted[:place]:
            raise invalid(f"duplicate output tensor alias: {name}; output_filter may name each of {one_of(names)} once")


def check_dtypes(signature: Signature, inputs: Arrays) -> None:
    """Refuse inputs of another dtype than the signature declares.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    for place, spec in enumerate(signature.inputs):
        dtype = dtype_name(inputs[spec.name])
        if dtype != spec.dtype:
            raise invalid(
                f"Expects arg[{place}] to be {_tensorflow_name(spec.dtype)} but {_tensorflow_name(dtype)} is provided; "
                f"input {spec.name!r} of {signature.name!r} takes {spec.dtype}"
            )


def check_shapes(signature: Signature, inputs: Arrays) -> None:
    """Refuse inputs of another shape than the signature declares. TF Serving leaves shapes to the graph.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    for spec in signature.inputs:
        shape = inputs[spec.name].shape
        if not fits(shape, spec.shape):
            raise invalid(
                f"input {spec.name!r} of {signature.name!r} has shape {format_shape(shape)}; it must be "
                f"{format_shape(spec.shape)}"
            )


def with_axes_of_one(signature: Signature, inputs: Arrays) -> Arrays:
    """The inputs with trailing axes of size 1 that a request left out, as in `[1]` for `[?, 1]`.

    TF Serving resizes the input of a .tflite to whatever comes, so that its clients may leave them out.
    """
    fitting = dict(inputs)
    for spec in signature.inputs:
        shape = inputs[spec.name].shape
        missing = () if spec.shape is None or not shape else spec.shape[len(shape) :]
        if missing and set(missing) == {1}:
            fitting[spec.name] = inputs[spec.name].reshape(*shape, *missing)
    return fitting


def _tensorflow_name(dtype: str) -> str:
    return _TENSORFLOW_NAMES.get(dtype, dtype)


def _listed(specs: Sequence[TensorSpec]) -> str:
    return "; ".join(map(str, specs)) or "no inputs"
