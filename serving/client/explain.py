"""Refusals explained: a server says that something is wrong, this what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from attnexport.core.errors import NotFoundError, RefusedError, SamplesError, ServingError, no_such
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature
from attnexport.serving.codec import ServedModel

from .model_info import ModelInfo
from .plan import Deadline, Plan

Result = TypeVar("Result")
_LIMIT = 2.0  # seconds that asking the server for an explanation may take


def explained(
    plan: Plan[Result],
    models: ModelInfo,
    model: ServedModel,
    deadline: Deadline,
    inputs: Arrays | None = None,
    outputs: Sequence[str] = (),
) -> Plan[Result]:
    """A plan whose refusals name the signatures, versions, inputs or outputs that the server has.

    Args:
        plan: The plan.
        models: Asked for what the server has.
        model: The model that the plan is for.
        deadline: The call's.
        inputs: The inputs that were sent; None for examples, or a call without inputs.
        outputs: The outputs that were asked for.
    """
    try:
        return (yield from plan)
    except (RefusedError, NotFoundError) as error:
        raise (yield from _explanation(error, models, model, deadline, inputs, outputs)) from error


def find_signature(signatures: Mapping[str, Signature], model: ServedModel, address: str) -> Signature:
    """The signature that a model names.

    Raises:
        RefusedError: if there is no such signature, worded as an explained refusal of the server.
    """
    name = model.signature or DEFAULT_SIGNATURE
    if name not in signatures:
        text = f"{address}: {no_such('signature', name, signatures)}"
        raise RefusedError(text, address=address, model=model.name, signature=name, valid=signatures)
    return signatures[name]


def _explanation(
    error: ServingError,
    models: ModelInfo,
    model: ServedModel,
    deadline: Deadline,
    inputs: Arrays | None,
    outputs: Sequence[str],
) -> Plan[ServingError]:
    """The error with an explanation, or the error itself if the server does not give one."""
    if deadline.left() <= 0:
        return error
    nearer = deadline.at_most(_LIMIT)
    try:
        if isinstance(error, NotFoundError):
            states = yield from models.status(model._replace(version=None, label=None), nearer)
            available = [str(each.version) for each in states if each.state == "AVAILABLE"]
            there = f"; there is {', '.join(available)}" if available else ""
            return _with_explanation(error, f"model {model.name!r} has no {_version(model)}{there}", available)
        metadata = yield from models.fetch_metadata(model, nearer)
    except ServingError:
        if isinstance(error, NotFoundError):
            names = yield from _served(models, nearer)
            text = no_such("model", model.name, names) if names else f"there is no model {model.name!r}"
            return _with_explanation(error, text, names)
        return error
    name = model.signature or DEFAULT_SIGNATURE
    if name not in metadata.signatures:
        return _with_explanation(error, no_such("signature", name, metadata.signatures), metadata.signatures)
    signature = metadata.signatures[name]
    for output in outputs:
        names = [spec.name for spec in signature.outputs]
        if output not in names:
            return _with_explanation(error, f"signature {name!r}: {no_such('output', output, names)}", names)
    try:
        if inputs is not None:
            signature.check_inputs(inputs)
    except SamplesError as misfit:
        return _with_explanation(error, str(misfit), [str(spec) for spec in signature.inputs])
    return error


def _served(models: ModelInfo, deadline: Deadline) -> Plan[list[str]]:
    """The names of what a server serves, if it tells; TensorFlow Serving cannot."""
    try:
        return sorted((yield from models.list_models(deadline)))
    except ServingError:
        return []


def _version(model: ServedModel) -> str:
    if model.label is not None:
        return f"version with the label {model.label!r}"
    return "version" if model.version is None else f"version {model.version}"


def _with_explanation(error: ServingError, explanation: str, valid: Iterable[str]) -> ServingError:
    """Our words in place of the server's, which say the same; its status code stays. `__cause__` has its words."""
    code = re.search(r" \([A-Z_]+\)$", str(error))
    return error.reworded(f"{error.address}: {explanation}{code[0] if code else ''}", valid)
