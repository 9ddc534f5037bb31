"""Predict: names, checks, parts of large batches, and errors that say what would be right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnexport.core.errors import (
    ArgumentError,
    CodecError,
    NotFoundError,
    RefusedError,
    SamplesError,
    ServingError,
    check_size,
    first_line,
    no_such,
)
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature
from attnexport.serving.codec import (
    PredictAnswer,
    ServedModel,
    decode_predict_reply,
    encode_predict_request,
)
from attnexport.serving.codec.dtypes import numpy_dtype

from .model_info import Knowing
from .plan import Deadline, Plan, Together
from .responses import Prediction, unusable

OnBatch = Callable[[int], object]
_EXPLAINING = 2.0  # seconds that finding out what would have been right may take


@dataclass(frozen=True)
class PredictOptions:
    """How one call differs from the client's options; None where it does not."""

    max_batch: int | None = None
    check: bool | None = None
    on_batch: OnBatch | None = None


class Predicting(Knowing):
    """Plans that predict."""

    def predict_plan(
        self, inputs: Any, model: ServedModel, outputs: Sequence[str], deadline: Deadline, options: PredictOptions
    ) -> Plan[Prediction]:
        """One call, or as many as `max_batch` makes of it, joined in order."""
        if isinstance(outputs, str):
            raise ArgumentError(f"outputs are a list of names; received {outputs!r}")
        arrays = yield from self._named(inputs, model, deadline)
        if self.options.check if options.check is None else options.check:
            yield from self._check(arrays, model, deadline)
        most = self.options.max_batch if options.max_batch is None else check_size("max_batch", options.max_batch)
        parts = _parts(arrays, most)
        plans = [self._part(part, model, outputs, deadline, options.on_batch) for part in parts]
        if len(plans) == 1:
            answers = [(yield from plans[0])]
        else:
            answers = yield Together(plans, self.options.max_concurrent)
        return _joined(answers, [_count(part) for part in parts], model)

    def _part(
        self, arrays: Arrays, model: ServedModel, outputs: Sequence[str], deadline: Deadline, on_batch: OnBatch | None
    ) -> Plan[PredictAnswer]:
        request = encode_predict_request(model, arrays, outputs)
        try:
            reply = yield from self.ask("Predict", request, deadline, model)
        except (RefusedError, NotFoundError) as error:
            raise (yield from self._explained(error, arrays, model, outputs, deadline)) from error
        try:
            answer = decode_predict_reply(reply.data)
        except CodecError as error:
            raise unusable(error, reply.address) from error
        if on_batch is not None:
            on_batch(_count(arrays))
        return answer

    def _signature(self, signatures: Mapping[str, Signature], model: ServedModel) -> Signature:
        """The signature; one that is not there is refused in the words that the server's own refusal gets."""
        name = model.signature or DEFAULT_SIGNATURE
        if name not in signatures:
            address = self.balancer.addresses[0]
            text = f"{address}: {no_such('signature', name, signatures)}"
            raise RefusedError(text, address=address, model=model.name, signature=name, valid=signatures)
        return signatures[name]

    def _named(self, inputs: Any, model: ServedModel, deadline: Deadline) -> Plan[Arrays]:
        """Arrays by input name; the server is asked where the caller leaves the name or the dtype open."""
        named = inputs if isinstance(inputs, Mapping) else None
        if named is not None and all(isinstance(each, np.ndarray | np.generic) for each in named.values()):
            return {name: each if isinstance(each, np.ndarray) else np.asarray(each) for name, each in named.items()}
        metadata = yield from self.known_metadata(model, deadline)
        signature = self._signature(metadata.signatures, model)
        if named is None:
            if len(signature.inputs) != 1:
                names = ", ".join(repr(spec.name) for spec in signature.inputs)
                raise ArgumentError(
                    f"signature {signature.name!r} takes {names}; an array alone is for a single input, "
                    "give a dict from name to array"
                )
            named = {signature.inputs[0].name: inputs}
        dtypes = {spec.name: spec.dtype for spec in signature.inputs}
        return {name: _array(name, value, dtypes.get(name)) for name, value in named.items()}

    def _check(self, arrays: Arrays, model: ServedModel, deadline: Deadline) -> Plan[None]:
        known = self.knows(model)
        metadata = yield from self.known_metadata(model, deadline)
        try:
            self._signature(metadata.signatures, model).check_inputs(arrays)
        except (SamplesError, RefusedError):
            if not known:
                raise
            # What is remembered may be of a version that is served no more.
            metadata = yield from self.metadata_plan(model, deadline)
            self._signature(metadata.signatures, model).check_inputs(arrays)

    def _explained(
        self, error: ServingError, arrays: Arrays | None, model: ServedModel, outputs: Sequence[str], deadline: Deadline
    ) -> Plan[ServingError]:
        """The error with what would have been right, where the server can be asked; else the error itself.

        Where `arrays` is None, the inputs were examples.
        """
        left = deadline.left()
        if left <= 0:
            return error
        nearer = deadline.at_most(_EXPLAINING)
        try:
            if isinstance(error, NotFoundError):
                states = yield from self.status_plan(model._replace(version=None, label=None), nearer)
                there = [str(each.version) for each in states if each.state == "AVAILABLE"]
                return _again(error, f"model {model.name!r} has no version {model.version}", there)
            metadata = yield from self.metadata_plan(model, nearer)
        except ServingError:
            if isinstance(error, NotFoundError):
                return _again(error, f"there is no model {model.name!r}", ())
            return error
        name = model.signature or DEFAULT_SIGNATURE
        if name not in metadata.signatures:
            return _again(error, no_such("signature", name, metadata.signatures), metadata.signatures)
        signature = metadata.signatures[name]
        for output in outputs:
            names = [spec.name for spec in signature.outputs]
            if output not in names:
                return _again(error, f"signature {name!r}: {no_such('output', output, names)}", names)
        try:
            if arrays is not None:
                signature.check_inputs(arrays)
        except SamplesError as misfit:
            return _again(error, str(misfit), [str(spec) for spec in signature.inputs])
        return error


def _again(error: ServingError, told: str, valid: Any) -> ServingError:
    """Our words first, and the server's behind them."""
    listed = tuple(valid)
    there = f"; there is {', '.join(listed)}" if isinstance(error, NotFoundError) and listed else ""
    text = f"{error.address}: {told}{there}; the server says: {str(error).removeprefix(f'{error.address}: ')}"
    return error.reworded(text, listed)


def _array(name: str, value: Any, dtype: str | None) -> np.ndarray[Any, Any]:
    """Python's numbers and lists have no dtype: they take the signature's. Arrays keep theirs."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.generic) or dtype is None:
        return np.asarray(value)
    try:
        array = np.asarray(value, dtype=object if dtype == "string" else None)
        if dtype == "string" or (array.dtype.kind in "iub" and numpy_dtype(dtype).kind in "iub"):
            return np.asarray(value, dtype=object if dtype == "string" else numpy_dtype(dtype))
        if array.dtype.kind not in "iufbc":
            raise TypeError(f"it holds {array.dtype.name}")
        with np.errstate(over="raise"):
            return array.astype(numpy_dtype(dtype), casting="unsafe" if array.dtype.kind in "iuf" else "same_kind")
    except (ValueError, TypeError, OverflowError, FloatingPointError) as error:
        raise SamplesError(f"input {name!r} cannot be made an array of {dtype}: {first_line(error)}") from error


def _count(arrays: Arrays) -> int:
    """The samples in a part: the common first dimension, or 1 where there is none."""
    counts = {array.shape[0] if array.ndim else None for array in arrays.values()}
    count = counts.pop() if len(counts) == 1 else None
    return 1 if count is None else count


def _parts(arrays: Arrays, most: int | None) -> list[Arrays]:
    """Parts of at most `most` samples; the whole where it has no common first dimension."""
    counts = {array.shape[0] if array.ndim else None for array in arrays.values()}
    count = next(iter(counts)) if len(counts) == 1 else None
    if most is None or count is None or count <= most:
        return [arrays]
    return [{name: array[at : at + most] for name, array in arrays.items()} for at in range(0, count, most)]


def _joined(answers: list[PredictAnswer], counts: list[int], model: ServedModel) -> Prediction:
    versions = tuple(sorted({each.model.version for each in answers if each.model.version is not None}))
    if len(answers) == 1:
        return Prediction(answers[0].outputs, model.name, versions)
    joined: Arrays = {}
    for name in answers[0].outputs:
        parts = [each.outputs.get(name) for each in answers]
        for part, count in zip(parts, counts, strict=True):
            if part is None or part.shape[:1] != (count,):
                shape = None if part is None else list(part.shape)
                raise ServingError(
                    f"model {model.name!r}: output {name!r} of a part of {count} samples has shape {shape}, "
                    "so the parts cannot be joined; send it whole, with a larger max_batch",
                    model=model.name,
                )
        joined[name] = np.concatenate([part for part in parts if part is not None])
        joined[name].flags.writeable = False
    return Prediction(joined, model.name, versions)
