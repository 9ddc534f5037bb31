"""Predict: inputs as arrays, checked if asked to, sent in parts if they are many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from attnexport.core.errors import ArgumentError, CodecError, NotFoundError, RefusedError, SamplesError
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays
from attnexport.serving.codec import PredictAnswer, ServedModel, decode_predict_reply, encode_predict_request

from .batches import can_be_split, exceeds, joined, parts_of, sample_count
from .dispatch import Dispatcher
from .explain import explained, find_signature
from .inputs import Inputs, arrays_for, arrays_if_complete, narrowed
from .model_info import ModelInfo
from .plan import Concurrent, Deadline, Plan
from .responses import Prediction, unusable

OnBatch = Callable[[int], object]


class Predictor:
    """Plans that predict."""

    def __init__(self, dispatcher: Dispatcher, models: ModelInfo) -> None:
        self._dispatcher = dispatcher
        self._models = models

    def predict(
        self,
        inputs: Inputs,
        model: ServedModel,
        outputs: Sequence[str],
        deadline: Deadline,
        *,
        max_batch: int | None,
        check: bool,
        on_batch: OnBatch | None,
    ) -> Plan[Prediction]:
        """One call, or as many as `max_batch` makes of it, joined in order."""
        if isinstance(outputs, str):
            raise ArgumentError(f"outputs are a list of names; received {outputs!r}")
        arrays = yield from self._arrays(inputs, model, deadline)
        if check:
            yield from self._check(arrays, model, deadline)
        parts = yield from self._parts(arrays, model, outputs, deadline, max_batch)
        plans = [self._part(part, model, outputs, deadline, on_batch) for part in parts]
        if len(plans) == 1:
            answers = [(yield from plans[0])]
        else:
            answers = yield Concurrent(plans, self._dispatcher.options.max_concurrent)
        return joined(answers, [sample_count(part) for part in parts], model)

    def _arrays(self, inputs: Inputs, model: ServedModel, deadline: Deadline) -> Plan[Arrays]:
        """Arrays by input name; the server is asked for the signature if the inputs leave a name or dtype open."""
        arrays = arrays_if_complete(inputs)
        if arrays is not None:
            return (yield from self._narrowed(arrays, model, deadline))
        metadata = yield from self._models.metadata(model, deadline)
        return arrays_for(inputs, find_signature(metadata.signatures, model, self._dispatcher.addresses[0]))

    def _narrowed(self, arrays: Arrays, model: ServedModel, deadline: Deadline) -> Plan[Arrays]:
        """The arrays; int64, numpy's own type of whole numbers, as the signature's narrower one if that holds them."""
        if not any(array.dtype == np.int64 for array in arrays.values()):
            return arrays
        try:
            metadata = yield from self._models.metadata(model, deadline)
        except (RefusedError, NotFoundError):  # the request itself will say what is wrong
            return arrays
        signature = metadata.signatures.get(model.signature or DEFAULT_SIGNATURE)
        return arrays if signature is None else narrowed(arrays, signature)

    def _check(self, arrays: Arrays, model: ServedModel, deadline: Deadline) -> Plan[None]:
        address = self._dispatcher.addresses[0]
        was_cached = self._models.is_cached(model)
        metadata = yield from self._models.metadata(model, deadline)
        try:
            find_signature(metadata.signatures, model, address).check_inputs(arrays)
        except (SamplesError, RefusedError):
            if not was_cached:
                raise
            # The cached signatures may be of a version that is no longer served.
            metadata = yield from self._models.fetch_metadata(model, deadline)
            find_signature(metadata.signatures, model, address).check_inputs(arrays)

    def _parts(
        self, arrays: Arrays, model: ServedModel, outputs: Sequence[str], deadline: Deadline, max_batch: int | None
    ) -> Plan[list[Arrays]]:
        """The inputs in parts of at most `max_batch`; whole if the signature's first dimension is not a batch."""
        if max_batch is None or not exceeds(arrays, max_batch):
            return [arrays]
        try:
            metadata = yield from self._models.metadata(model, deadline)
        except RefusedError:
            return parts_of(arrays, max_batch)  # the server does not say; the caller did
        signature = metadata.signatures.get(model.signature or DEFAULT_SIGNATURE)
        if signature is not None and not can_be_split(signature, outputs, max_batch):
            return [arrays]
        return parts_of(arrays, max_batch)

    def _part(
        self, arrays: Arrays, model: ServedModel, outputs: Sequence[str], deadline: Deadline, on_batch: OnBatch | None
    ) -> Plan[PredictAnswer]:
        request = encode_predict_request(model, arrays, outputs)
        plan = self._dispatcher.send("Predict", request, deadline, model)
        reply = yield from explained(plan, self._models, model, deadline, arrays, outputs)
        try:
            answer = decode_predict_reply(reply.data)
        except CodecError as error:
            raise unusable(error, reply.address) from error
        if on_batch is not None:
            on_batch(sample_count(arrays))
        return answer
