"""MultiInference: several signatures over the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnexport.core.signature import DEFAULT_SIGNATURE, duplicates
from attnexport.serving.codec import ServedModel
from attnexport.serving.messages import MultiInferenceResponse, SignatureDefMap

from .cancellation import Alive, always, check_alive
from .examples import INPUTS
from .inference import Inference
from .status import Code, StatusError, invalid
from .versions import ServedVersion

_METHODS = {"tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress"}


def multi_inference(
    inference: Inference,
    version: ServedVersion,
    tasks: Sequence[tuple[ServedModel, str]],
    message: Any,
    alive: Alive = always,
) -> Any:
    """Run each task, a model_spec and the full name of a method, on a tensorflow.serving.Input.

    Raises:
        StatusError: UNIMPLEMENTED for another method than classify and regress; INVALID_ARGUMENT for a signature that
            is unknown, of another kind, named twice, or fed by another tensor than the first one's.
    """
    names = [asked.signature or DEFAULT_SIGNATURE for asked, _ in tasks]
    if repeated := duplicates(names):
        raise invalid(f"signature {repeated[0]!r} is asked for twice")
    definitions = SignatureDefMap.FromString(version.model.definitions).signature_def
    feeds = set()
    for name, (_, method) in zip(names, tasks, strict=True):
        if name not in version.model.signatures:
            inference.signature_for(version, name, "classify")  # says which there are
        if method not in _METHODS:
            raise StatusError(
                Code.UNIMPLEMENTED, f"method {method!r} is not one of MultiInference: {', '.join(_METHODS)} are"
            )
        inference.signature_for(version, name, _METHODS[method])
        feeds.add(definitions[name].inputs[INPUTS].name)
    if len(feeds) > 1:
        raise invalid(f"the signatures {', '.join(names)} read different tensors; MultiInference feeds one")
    reply = MultiInferenceResponse()
    for name, (_, full_name) in zip(names, tasks, strict=True):
        check_alive(alive)
        method, added = _METHODS[full_name], reply.results.add()
        result = added.classification_result if method == "classify" else added.regression_result
        inference.examples(version, name, method, message, result, alive)
        added.model_spec.CopyFrom(ServedModel(version.name, version.number, None, name).to_message())
    return reply
