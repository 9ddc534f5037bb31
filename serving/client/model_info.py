"""What servers say about their models: metadata, status, readiness; and a new configuration for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnexport.core.errors import (
    ArgumentError,
    DeadlineError,
    NotFoundError,
    RefusedError,
    ServingError,
    UnavailableError,
    first_line,
)
from attnexport.serving.codec import ServedModel
from attnexport.serving.messages import METHODS, MODELS_SERVICE, POOL, ModelServerConfig

from .dispatch import Dispatcher
from .options import Retry
from .plan import Deadline, Plan, Sleep
from .responses import ModelMetadata, VersionStatus, parse, read_metadata, read_status, unusable

_NO_RETRY = Retry(attempts=1)
_POLL = 0.2  # seconds between polls of a model that is not ready


class ModelInfo:
    """Plans that ask about models, and a cache of their signatures."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._cache: dict[ServedModel, ModelMetadata] = {}

    def fetch_metadata(self, model: ServedModel, deadline: Deadline) -> Plan[ModelMetadata]:
        """Ask for the signatures of a model, and cache them."""
        method = METHODS["GetModelMetadata"]
        request = method.request(model_spec=_without_signature(model).to_message(), metadata_field=["signature_def"])
        reply = yield from self._dispatcher.send(method.name, request.SerializeToString(), deadline, model)
        metadata = read_metadata(parse(method.response, reply.data, reply.address), reply.address)
        self._cache[_without_signature(model)] = metadata
        return metadata

    def metadata(self, model: ServedModel, deadline: Deadline) -> Plan[ModelMetadata]:
        """The signatures of a model, from the cache if they are there."""
        cached = self._cache.get(_without_signature(model))
        return cached or (yield from self.fetch_metadata(model, deadline))

    def is_cached(self, model: ServedModel) -> bool:
        """Whether the signatures of a model are in the cache."""
        return _without_signature(model) in self._cache

    def status(self, model: ServedModel, deadline: Deadline, retry: Retry | None = None) -> Plan[list[VersionStatus]]:
        """The states of a model's versions."""
        method = METHODS["GetModelStatus"]
        request = method.request(model_spec=_without_signature(model).to_message())
        reply = yield from self._dispatcher.send(method.name, request.SerializeToString(), deadline, model, retry=retry)
        return read_status(parse(method.response, reply.data, reply.address))

    def list_models(self, deadline: Deadline) -> Plan[dict[str, list[VersionStatus]]]:
        """What an embedded server serves."""
        try:
            reply = yield from self._dispatcher.send(f"/{MODELS_SERVICE}/List", b"", deadline, ServedModel(""))
        except RefusedError as error:
            text = f"{error.address}: it does not list its models, as TensorFlow Serving cannot; name one to status"
            raise error.reworded(text) from error
        try:
            document = json.loads(reply.data)
            return {str(model["name"]): list(map(_listed_version, model["versions"])) for model in document["models"]}
        except (ValueError, TypeError, KeyError) as error:
            raise unusable(error, reply.address) from error

    def reload_config(self, config: str | Mapping[str, str | Path], deadline: Deadline) -> Plan[None]:
        """Send a new configuration to every server: they share none."""
        method = METHODS["HandleReloadConfigRequest"]
        request = method.request(config=_server_config(config)).SerializeToString()
        for address in self._dispatcher.addresses:
            left = deadline.check(f"{method.name} at {address}")
            data = yield from self._dispatcher.send_to(address, method.name, request, left, ServedModel(""))
            status = parse(method.response, data, address).status
            if status.error_code:
                raise RefusedError(f"{address}: {' '.join(status.error_message.split())}", address=address)
        self._cache.clear()

    def wait_until_ready(self, model: ServedModel | None, deadline: Deadline) -> Plan[None]:
        """Poll until a model is available, or, without a model, until a server answers.

        A failure that waiting cannot mend is raised at once.
        """
        target = model or ServedModel("")
        while True:
            try:
                nearer = deadline.at_most(self._dispatcher.options.connect_timeout)
                states = yield from self.status(target, nearer, _NO_RETRY)
                reason = _not_ready(target, states)
            except (UnavailableError, DeadlineError, NotFoundError) as error:
                reason = str(error)
            except RefusedError:
                if model is not None:
                    raise
                reason = ""  # without a model's name any answer will do, this one too
            if not reason:
                return
            if deadline.left() <= _POLL:
                what = f"model {target.name!r}" if model else "the server"
                raise DeadlineError(
                    f"{what} is not ready after {deadline.seconds:g} s: {reason}",
                    address=self._dispatcher.addresses[0],
                    model=target.name or None,
                )
            yield Sleep(_POLL)


def _listed_version(document: Any) -> VersionStatus:
    return VersionStatus(int(document["version"]), str(document["state"]))


def _without_signature(model: ServedModel) -> ServedModel:
    return model._replace(signature="")


def _not_ready(model: ServedModel, states: list[VersionStatus]) -> str:
    """Why a model cannot answer yet; empty if it can.

    Raises:
        ServingError: if all its versions failed to load.
    """
    wanted = [each for each in states if model.version in (None, each.version)]
    if any(each.state == "AVAILABLE" for each in wanted):
        return ""
    failed = [each for each in wanted if each.state == "END" and each.error_code]
    if wanted and len(failed) == len(wanted):
        error = " ".join(failed[0].error.split())
        raise ServingError(
            f"model {model.name!r} version {failed[0].version} failed to load: {error}", model=model.name
        )
    listed = ", ".join(f"version {each.version} is {each.state}" for each in states)
    return listed or "it has no version yet"


def _server_config(config: str | Mapping[str, str | Path]) -> Any:
    """A ModelServerConfig from its text form, or from base paths by model name."""
    from google.protobuf import text_format

    if not isinstance(config, str):
        message = ModelServerConfig()
        for name, path in config.items():
            message.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
        return message
    try:
        return text_format.Parse(config, ModelServerConfig(), descriptor_pool=POOL)
    except text_format.ParseError as error:
        raise ArgumentError(
            f"the configuration is not a tensorflow.serving.ModelServerConfig: {first_line(error)}"
        ) from error
