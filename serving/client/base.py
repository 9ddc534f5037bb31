"""The base of both clients: everything but carrying calls out. No gRPC here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from attnexport.core.errors import ArgumentError, NotFoundError, RefusedError, one_of
from attnexport.serving.codec import ServedModel
from attnexport.serving.messages import METHODS

from .examples import Examples, Features, fill_input
from .options import ClientOptions
from .plan import Deadline, Plan
from .predict import OnBatch, Predicting, PredictOptions
from .responses import ClassScore, ModelMetadata, Prediction, VersionStatus, parse, read_classes, read_values

Found = TypeVar("Found")
Inferred = list[list[ClassScore]] | np.ndarray[Any, Any]
_TASKS = {"classify": "tensorflow/serving/classify", "regress": "tensorflow/serving/regress"}


class BaseClient(Predicting):
    """The calls of a client as plans, with the arguments that users give."""

    def __init__(self, addresses: str | Sequence[str], **options: Any) -> None:
        super().__init__(addresses, ClientOptions(**options))

    def _predict(
        self,
        inputs: Any,
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
        target = self.target(model, version, label, signature)
        options = PredictOptions(max_batch, check, on_batch)
        return self.predict_plan(inputs, target, outputs, self.deadline(timeout), options)

    def _infer(
        self,
        name: str,
        examples: Examples,
        context: Features | None,
        target: ServedModel,
        timeout: float | None,
    ) -> Plan[Any]:
        """Classify or Regress: the message of the result."""
        method = METHODS[name]
        request = method.request(model_spec=target.to_message())
        fill_input(request.input, examples, context)
        result = yield from self._inferred(name, request, target, self.deadline(timeout))
        return result.result

    def _classify(self, *arguments: Any) -> Plan[list[list[ClassScore]]]:
        return read_classes((yield from self._infer("Classify", *arguments)))

    def _regress(self, *arguments: Any) -> Plan[np.ndarray[Any, Any]]:
        return read_values((yield from self._infer("Regress", *arguments)))

    def _multi_inference(
        self,
        examples: Examples,
        tasks: Sequence[tuple[str, str]],
        context: Features | None,
        target: ServedModel,
        timeout: float | None,
    ) -> Plan[list[Inferred]]:
        request = METHODS["MultiInference"].request()
        for kind, signature in tasks:
            if kind not in _TASKS:
                raise ArgumentError(f"a task {kind!r} is not {one_of(_TASKS)}")
            spec = self.target(target.name, target.version, target.label, signature).to_message()
            request.tasks.add(model_spec=spec, method_name=_TASKS[kind])
        fill_input(request.input, examples, context)
        reply = yield from self._inferred("MultiInference", request, target, self.deadline(timeout))
        found: list[Inferred] = []
        for result in reply.results:
            classified = result.WhichOneof("result") == "classification_result"
            found.append(
                read_classes(result.classification_result) if classified else read_values(result.regression_result)
            )
        return found

    def _inferred(self, name: str, request: Any, target: ServedModel, deadline: Deadline) -> Plan[Any]:
        try:
            reply = yield from self.ask(name, request.SerializeToString(), deadline, target)
        except (RefusedError, NotFoundError) as error:
            raise (yield from self._explained(error, None, target, (), deadline)) from error
        return parse(METHODS[name].response, reply.data, reply.address)

    def _metadata(
        self, model: str | None, version: int | None, label: str | None, timeout: float | None
    ) -> Plan[ModelMetadata]:
        target, deadline = self.target(model, version, label), self.deadline(timeout)
        return self._found(self.metadata_plan(target, deadline), target, deadline)

    def _status(self, model: str | None, version: int | None, timeout: float | None) -> Plan[list[VersionStatus]]:
        target, deadline = self.target(model, version), self.deadline(timeout)
        return self._found(self.status_plan(target, deadline), target, deadline)

    def _found(self, plan: Plan[Found], target: ServedModel, deadline: Deadline) -> Plan[Found]:
        """The plan, whose NotFoundError says what there is instead."""
        try:
            return (yield from plan)
        except NotFoundError as error:
            raise (yield from self._explained(error, None, target, (), deadline)) from error

    def _reload_config(self, config: str | Mapping[str, str | Path], timeout: float | None) -> Plan[None]:
        return self.reload_plan(config, self.deadline(timeout))

    def _wait_until_ready(self, model: str | None, version: int | None, timeout: float | None) -> Plan[None]:
        named = model or self.options.model
        return self.wait_plan(self.target(named, version) if named else None, self.deadline(timeout))
