"""The data plane: what the server answers, whoever asks by whatever transport.

Requests and replies are TF Serving's messages, only Predict's are values, so that each edge may read tensors its own
way. Every refusal is a StatusError.
"""

from __future__ import annotations

from typing import Any

from attnexport.core.errors import one_of
from attnexport.core.signature import DEFAULT_SIGNATURE, Signature
from attnexport.serving.codec import PredictAnswer, PredictCall, ServedModel
from attnexport.serving.messages import (
    ClassificationResponse,
    GetModelMetadataResponse,
    GetModelStatusResponse,
    RegressionResponse,
    ReloadConfigResponse,
)

from .cancellation import Alive, always
from .configuration import configs_from_message
from .inference import Inference
from .manager import ModelManager
from .metrics import Metrics
from .multi_inference import multi_inference
from .status import Code, StatusError, invalid
from .versions import ServedVersion

_METADATA = "signature_def"
_TYPE_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


class DataPlane:
    """Answers requests from the models of a manager."""

    def __init__(self, manager: ModelManager, inference: Inference) -> None:
        self.manager, self._inference = manager, inference

    @property
    def metrics(self) -> Metrics:
        """Where requests are counted."""
        return self._inference.metrics

    def count(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count a request that ended, under the name of the model that it gave; see `Metrics.request`."""
        label = model if self.manager.has_model(model) else self.metrics.unknown_model(model)
        self.metrics.request(label, api, entrypoint, code, seconds)

    def predict(self, call: PredictCall, alive: Alive = always) -> PredictAnswer:
        """Predict, with any signature."""
        with self.manager.hold(call.model) as version:
            outputs = self._inference.predict(version, call.model.signature, call.inputs, call.outputs, alive)
            return PredictAnswer(_answered(version, call.model.signature), outputs)

    def signature(self, model: ServedModel) -> Signature:
        """The signature that a Predict would run.

        Raises:
            StatusError: FAILED_PRECONDITION where there is none of that name.
        """
        with self.manager.hold(model) as version:
            return self._inference.signature(version, model.signature)

    def classify(self, request: Any, alive: Alive = always) -> Any:
        """A ClassificationRequest to a ClassificationResponse."""
        return self._examples(request, "classify", ClassificationResponse(), alive)

    def regress(self, request: Any, alive: Alive = always) -> Any:
        """A RegressionRequest to a RegressionResponse."""
        return self._examples(request, "regress", RegressionResponse(), alive)

    def _examples(self, request: Any, method: str, reply: Any, alive: Alive) -> Any:
        asked = ServedModel.from_message(request.model_spec)
        with self.manager.hold(asked) as version:
            self._inference.examples(version, asked.signature, method, request.input, reply.result, alive)
            reply.model_spec.CopyFrom(_answered(version, asked.signature).to_message())
        return reply

    def multi_inference(self, request: Any, alive: Alive = always) -> Any:
        """A MultiInferenceRequest to a MultiInferenceResponse."""
        tasks = [(ServedModel.from_message(task.model_spec), task.method_name) for task in request.tasks]
        if not tasks:
            raise invalid("the request holds no tasks; each has a model_spec and a method_name")
        if len({asked.name for asked, _ in tasks}) > 1:
            raise invalid("all tasks of a request must name the same model")
        with self.manager.hold(tasks[0][0]) as version:
            return multi_inference(self._inference, version, tasks, request.input, alive)

    def metadata(self, request: Any) -> Any:
        """A GetModelMetadataRequest to a GetModelMetadataResponse."""
        fields = list(request.metadata_field)
        asked = ServedModel.from_message(request.model_spec)
        if not asked.name:
            raise invalid("the request has no model_spec with the name of a model")
        unknown = [field for field in fields if field != _METADATA]
        if unknown or not fields:
            named = f"metadata_field {unknown[0]!r} is unknown" if unknown else "the request has no metadata_field"
            raise invalid(f"{named}; {one_of([_METADATA])} is the only one")
        with self.manager.hold(asked) as version:
            reply = GetModelMetadataResponse()
            packed = reply.metadata[_METADATA]
            packed.type_url, packed.value = _TYPE_URL, version.model.definitions
            reply.model_spec.name = asked.name
            reply.model_spec.version.value = version.number
        return reply

    def status(self, request: Any) -> Any:
        """A GetModelStatusRequest to a GetModelStatusResponse; a label is ignored, as TF Serving does."""
        asked = ServedModel.from_message(request.model_spec)
        found = self.manager.statuses(asked.name)
        if asked.version is not None:
            there = one_of(str(status.version) for status in found)
            found = [status for status in found if status.version == asked.version]
            if not found:
                raise StatusError(
                    Code.NOT_FOUND, f"model {asked.name!r} has no version {asked.version}; there is {there}"
                )
        reply = GetModelStatusResponse()
        for status in found:
            added = reply.model_version_status.add(version=status.version, state=int(status.state))
            added.status.error_code, added.status.error_message = int(status.code), status.message
        return reply

    def reload(self, request: Any) -> Any:
        """A ReloadConfigRequest to a ReloadConfigResponse, once all models are available.

        Raises:
            StatusError: for a configuration that is refused, or a model of which no version loads.
        """
        configs = configs_from_message(request.config, [config.name for config in self.manager.configs()])
        self.manager.configure(configs)
        for config in configs:
            failed = self.manager.failure(config.name)
            if failed is not None:
                raise StatusError(
                    Code.UNKNOWN,
                    f"model {config.name!r} did not become available: version {failed.version}: {failed.message}",
                )
        return ReloadConfigResponse()


def _answered(version: ServedVersion, signature: str) -> ServedModel:
    return ServedModel(version.name, version.number, None, signature or DEFAULT_SIGNATURE)
