"""The methods of a client as plans, with the arguments that users give. Nothing here knows gRPC or asyncio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from attnexport.core.errors import ArgumentError, check_size, one_of
from attnexport.core.limits import MAX_VERSION
from attnexport.core.signature import Array
from attnexport.core.signature_def import METHOD_NAMES
from attnexport.serving.codec import ServedModel
from attnexport.serving.messages import METHODS

from .dispatch import Dispatcher
from .examples import Examples, Features, fill_input
from .explain import explained
from .inputs import Inputs
from .model_info import ModelInfo
from .options import ClientOptions
from .plan import Deadline, Plan
from .predict import OnBatch, Predictor
from .responses import ClassScore, ModelMetadata, Prediction, VersionStatus, parse, read_classes, read_values

InferenceResult: TypeAlias = "list[list[ClassScore]] | Array"
_TASKS = {"classify": METHOD_NAMES["classify"], "regress": METHOD_NAMES["regress"]}


class Operations:
    """The plans of a client's methods.

    Args:
        addresses: The servers.
        options: The client's options, which each call may override.
    """

    def __init__(self, addresses: Sequence[str], options: ClientOptions) -> None:
        self._options = options
        self._dispatcher = Dispatcher(addresses, options)
        self._models = ModelInfo(self._dispatcher)
        self._predictor = Predictor(self._dispatcher, self._models)

    def predict(
        self,
        inputs: Inputs,
        model: str | None,
        signature: str,
        version: int | None,
        label: str | None,
        outputs: Sequence[str],
        timeout: float | None,
        max_batch: int | None,
        check: bool | None,
        on_batch: OnBatch | None,
    ) -> Plan[Prediction]:
        target = self._target(model, version, label, signature)
        return self._predictor.predict(
            inputs,
            target,
            outputs,
            self._deadline(timeout),
            max_batch=self._options.max_batch if max_batch is None else check_size("max_batch", max_batch),
            check=self._options.check if check is None else check,
            on_batch=on_batch,
        )

    def classify(
        self,
        examples: Examples,
        model: str | None,
        signature: str,
        version: int | None,
        label: str | None,
        context: Features | None,
        timeout: float | None,
    ) -> Plan[list[list[ClassScore]]]:
        target = self._target(model, version, label, signature)
        reply = yield from self._infer("Classify", [], examples, context, target, timeout)
        return read_classes(reply.result)

    def regress(
        self,
        examples: Examples,
        model: str | None,
        signature: str,
        version: int | None,
        label: str | None,
        context: Features | None,
        timeout: float | None,
    ) -> Plan[Array]:
        target = self._target(model, version, label, signature)
        reply = yield from self._infer("Regress", [], examples, context, target, timeout)
        return read_values(reply.result)

    def multi_inference(
        self,
        examples: Examples,
        tasks: Sequence[tuple[str, str]],
        model: str | None,
        version: int | None,
        label: str | None,
        context: Features | None,
        timeout: float | None,
    ) -> Plan[list[InferenceResult]]:
        target = self._target(model, version, label)
        reply = yield from self._infer("MultiInference", tasks, examples, context, target, timeout)
        return [
            read_classes(result.classification_result)
            if result.WhichOneof("result") == "classification_result"
            else read_values(result.regression_result)
            for result in reply.results
        ]

    def _infer(
        self,
        name: str,
        tasks: Sequence[tuple[str, str]],
        examples: Examples,
        context: Features | None,
        target: ServedModel,
        timeout: float | None,
    ) -> Plan[Any]:
        """The response message of Classify, Regress or MultiInference, the last of which alone has tasks."""
        method, deadline = METHODS[name], self._deadline(timeout)
        request = method.request()
        if name != "MultiInference":
            request.model_spec.CopyFrom(target.to_message())
        for kind, signature in tasks:
            if kind not in _TASKS:
                raise ArgumentError(f"a task {kind!r} is not {one_of(_TASKS)}")
            spec = self._target(target.name, target.version, target.label, signature).to_message()
            request.tasks.add(model_spec=spec, method_name=_TASKS[kind])
        fill_input(request.input, examples, context)
        plan = self._dispatcher.send(name, request.SerializeToString(), deadline, target)
        reply = yield from explained(plan, self._models, target, deadline)
        return parse(method.response, reply.data, reply.address)

    def metadata(
        self, model: str | None, version: int | None, label: str | None, timeout: float | None
    ) -> Plan[ModelMetadata]:
        target, deadline = self._target(model, version, label), self._deadline(timeout)
        return explained(self._models.fetch_metadata(target, deadline), self._models, target, deadline)

    def status(self, model: str | None, version: int | None, timeout: float | None) -> Plan[list[VersionStatus]]:
        target, deadline = self._target(model, version), self._deadline(timeout)
        return explained(self._models.status(target, deadline), self._models, target, deadline)

    def list_models(self, timeout: float | None) -> Plan[dict[str, list[VersionStatus]]]:
        return self._models.list_models(self._deadline(timeout))

    def reload_config(self, config: str | Mapping[str, str | Path], timeout: float | None) -> Plan[None]:
        return self._models.reload_config(config, self._deadline(timeout))

    def wait_until_ready(self, model: str | None, version: int | None, timeout: float | None) -> Plan[None]:
        name = model or self._options.model
        return self._models.wait_until_ready(self._target(name, version) if name else None, self._deadline(timeout))

    def _target(
        self, model: str | None, version: int | None = None, label: str | None = None, signature: str = ""
    ) -> ServedModel:
        """Which model a call is for.

        Raises:
            ArgumentError: if no model is named, or a version and a label.
        """
        name = model or self._options.model
        if not name:
            raise ArgumentError("no model is named; give model=, here or to the client")
        if version is not None and label is not None:
            raise ArgumentError(f"version {version} and label {label!r} exclude each other")
        if version is not None:
            check_size("version", version, least=0, most=MAX_VERSION)
        for what, text in (("model", name), ("label", label or ""), ("signature", signature or "")):
            if not isinstance(text, str) or not text.isprintable():
                raise ArgumentError(f"{what} must be printable text; received {text!r}")
        return ServedModel(name, version, label, signature or "")

    def _deadline(self, timeout: float | None) -> Deadline:
        """When a call ends that begins now."""
        return Deadline(self._options.timeout if timeout is None else timeout)
