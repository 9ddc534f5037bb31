"""The data plane: what the server answers, over any transport.

Requests and replies are TF Serving's messages, only Predict's are values, so that each edge may read tensors its own
way. Every refusal is a StatusError.
"""

from __future__ import annotations

import json
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
    """Answers requests from the models of a manager; `workers` is how many processes do so on the same ports."""

    def __init__(self, manager: ModelManager, inference: Inference, workers: int = 1) -> None:
        self.manager, self.inference, self._workers = manager, inference, workers

    @property
    def metrics(self) -> Metrics:
        """Where requests are counted."""
        return self.inference.metrics

    def count(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count a request that ended, under the name of the model that it gave; see `Metrics.request`."""
        label = model if self.manager.has_model(model) else self.metrics.unknown_model(model)
        self.metrics.request(label, api, entrypoint, code, seconds)

    def predict(self, call: PredictCall, alive: Alive = always) -> PredictAnswer:
        """Predict, with any signature."""
        with self.manager.hold(call.model) as version:
            outputs = self.inference.predict(version, call.model.signature, call.inputs, call.outputs, alive)
            return PredictAnswer(_answering(version, call.model.signature), outputs)

    def signature(self, model: ServedModel) -> Signature:
        """The signature that a Predict would run.

        Raises:
            StatusError: FAILED_PRECONDITION if the model has no signature of that name.
        """
        with self.manager.hold(model) as version:
            return self.inference.signature(version, model.signature)

    def classify(self, request: Any, alive: Alive = always) -> Any:
        """A ClassificationRequest to a ClassificationResponse."""
        return self._examples(request, "classify", ClassificationResponse(), alive)

    def regress(self, request: Any, alive: Alive = always) -> Any:
        """A RegressionRequest to a RegressionResponse."""
        return self._examples(request, "regress", RegressionResponse(), alive)

    def _examples(self, request: Any, method: str, reply: Any, alive: Alive) -> Any:
        model = model_of(request)
        with self.manager.hold(model) as version:
            self.inference.examples(version, model.signature, method, request.input, reply.result, alive)
            reply.model_spec.CopyFrom(_answering(version, model.signature).to_message())
        return reply

    def multi_inference(self, request: Any, alive: Alive = always) -> Any:
        """A MultiInferenceRequest to a MultiInferenceResponse."""
        tasks = [(ServedModel.from_message(task.model_spec), task.method_name) for task in request.tasks]
        with self.manager.hold(tasks[0][0] if tasks else ServedModel("")) as version:
            return multi_inference(self.inference, version, tasks, request.input, alive)

    def metadata(self, request: Any) -> Any:
        """A GetModelMetadataRequest to a GetModelMetadataResponse."""
        model, fields = model_of(request), list(request.metadata_field)
        if not fields:
            raise invalid(f"GetModelMetadataRequest must specify at least one metadata_field; {_METADATA!r} exists")
        for field in fields:
            if field != _METADATA:
                raise invalid(f"Metadata field {field} is not supported; {_METADATA!r} is")
        with self.manager.hold(model) as version:
            reply = GetModelMetadataResponse()
            packed = reply.metadata[_METADATA]
            packed.type_url, packed.value = _TYPE_URL, version.model.definitions
            reply.model_spec.name = model.name
            reply.model_spec.version.value = version.number
        return reply

    def status(self, request: Any) -> Any:
        """A GetModelStatusRequest to a GetModelStatusResponse; a label is ignored, as TF Serving does."""
        model = model_of(request)
        statuses = self.manager.statuses(model.name)
        if not statuses and model.version is None:
            known = self.manager.describe_missing(model.name)
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {model.name}; {known}")
        if model.version is not None:
            known = one_of(str(status.version) for status in statuses)
            statuses = [status for status in statuses if status.version == model.version]
            if not statuses:
                raise StatusError(
                    Code.NOT_FOUND,
                    f"Could not find version {model.version} of model {model.name}; its versions are {known}",
                )
        reply = GetModelStatusResponse()
        for status in statuses:
            added = reply.model_version_status.add(version=status.version, state=int(status.state))
            added.status.error_code, added.status.error_message = int(status.code), status.message
        return reply

    def listing(self) -> bytes:
        """The names of all models with their versions, the newest first, as JSON; of the embedded server alone."""
        models = [
            {
                "name": name,
                "versions": [{"version": each.version, "state": each.state.name} for each in statuses],
            }
            for name in sorted(config.name for config in self.manager.configs())
            for statuses in [sorted(self.manager.statuses(name), key=lambda each: -each.version)]
        ]
        return json.dumps({"models": models}).encode()

    def reload(self, request: Any) -> Any:
        """A ReloadConfigRequest to a ReloadConfigResponse, when the versions of new models are available.

        The reply names every metric that the request names, with an increase of 0: TF Serving counts those inside
        TensorFlow.

        Raises:
            StatusError: for a configuration that is refused, or a new model of which no version loads.
        """
        if self._workers > 1:
            raise StatusError(
                Code.FAILED_PRECONDITION,
                f"the server has {self._workers} workers, of which a reload would reach one; change its "
                "--model_config_file, which all follow with --model_config_file_poll_wait_seconds",
            )
        configs = configs_from_message(request.config, [config.name for config in self.manager.configs()])
        self.manager.reload(configs)
        reply = ReloadConfigResponse()
        reply.status.SetInParent()
        for name in dict.fromkeys(request.metric_names):  # each once, as TF Serving has it
            reply.metric.add(name=name, int64_value_increase=0)
        return reply


def model_of(request: Any) -> ServedModel:
    """The model that a request names.

    Raises:
        StatusError: INVALID_ARGUMENT if it has no model_spec.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec. The request needs a model_spec with the name of a model")
    return ServedModel.from_message(request.model_spec)


def _answering(version: ServedVersion, signature: str) -> ServedModel:
    return ServedModel(version.name, version.number, None, signature or DEFAULT_SIGNATURE)
