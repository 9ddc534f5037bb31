"""MultiInference: several signatures over the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnexport.core.errors import one_of
from attnexport.core.signature import DEFAULT_SIGNATURE
from attnexport.serving.codec import ServedModel
from attnexport.serving.messages import MultiInferenceResponse

from .cancellation import Alive, always, check_alive
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

    Each signature reads the examples by its own placeholder.

    Raises:
        StatusError: UNIMPLEMENTED for another method than classify and regress; INVALID_ARGUMENT for tasks of several
            models, and for a signature that is unknown, of another kind or named twice.
    """
    names: list[str] = []
    for spec, full_name in tasks:
        name = spec.signature or DEFAULT_SIGNATURE
        if not spec.name:
            raise invalid("Found ModelSpec with an empty model name. Each task needs the name of the model")
        if spec.name != tasks[0][0].name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if name in names:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        if name not in version.model.signatures:
            inference.signature_for(version, name, "classify", "Requested signature not found in model graph")
        if full_name not in _METHODS:
            raise StatusError(
                Code.UNIMPLEMENTED,
                f"Unsupported signature method_name: {full_name}; MultiInference takes {one_of(_METHODS)}",
            )
        inference.signature_for(version, name, _METHODS[full_name])
        names.append(name)
    reply, count = MultiInferenceResponse(), 0
    for name, (_, full_name) in zip(names, tasks, strict=True):
        check_alive(alive)
        method, added = _METHODS[full_name], reply.results.add()
        result = added.classification_result if method == "classify" else added.regression_result
        count = inference.examples(version, name, method, message, result, alive)
        added.model_spec.CopyFrom(ServedModel(version.name, version.number, None, name).to_message())
    inference.metrics.examples(version.name, count)
    return reply
