"""What a server says of its models: metadata, status, configuration, readiness."""

from __future__ import annotations

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
from attnexport.serving.messages import METHODS, POOL, ModelServerConfig

from ._calls import Asking, unsigned
from .options import Retry
from .plan import Deadline, Plan, Sleep
from .responses import ModelMetadata, VersionStatus, parse, read_metadata, read_status

_ONCE = Retry(attempts=1)
_POLL = 0.2  # seconds between two looks at a model that is not ready
_METADATA_KEY = tuple[str, int | None, str | None]


class Knowing(Asking):
    """Plans that learn about models, and remember their signatures."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._known: dict[_METADATA_KEY, ModelMetadata] = {}

    def metadata_plan(self, model: ServedModel, deadline: Deadline) -> Plan[ModelMetadata]:
        """Ask for the signatures, and remember them."""
        method = METHODS["GetModelMetadata"]
        request = method.request(model_spec=unsigned(model).to_message(), metadata_field=["signature_def"])
        reply = yield from self.ask(method.name, request.SerializeToString(), deadline, model)
        found = read_metadata(parse(method.response, reply.data, reply.address), reply.address)
        self._known[model.name, model.version, model.label] = found
        return found

    def known_metadata(self, model: ServedModel, deadline: Deadline) -> Plan[ModelMetadata]:
        """The signatures, asked for once."""
        known = self._known.get((model.name, model.version, model.label))
        return known or (yield from self.metadata_plan(model, deadline))

    def knows(self, model: ServedModel) -> bool:
        """Whether the signatures were asked for before."""
        return (model.name, model.version, model.label) in self._known

    def status_plan(
        self, model: ServedModel, deadline: Deadline, retry: Retry | None = None
    ) -> Plan[list[VersionStatus]]:
        method = METHODS["GetModelStatus"]
        request = method.request(model_spec=unsigned(model).to_message())
        reply = yield from self.ask(method.name, request.SerializeToString(), deadline, model, retry=retry)
        return read_status(parse(method.response, reply.data, reply.address))

    def reload_plan(self, config: str | Mapping[str, str | Path], deadline: Deadline) -> Plan[None]:
        """Every server gets it: they share no configuration."""
        method = METHODS["HandleReloadConfigRequest"]
        request = method.request(config=_server_config(config)).SerializeToString()
        for index, address in enumerate(self.balancer.addresses):
            left = deadline.check(f"{method.name} at {address}")
            data = yield from self.ask_one(index, method.name, request, left, ServedModel(""))
            status = parse(method.response, data, address).status
            if status.error_code:
                raise RefusedError(f"{address}: {' '.join(status.error_message.split())}", address=address)
        self._known.clear()

    def wait_plan(self, model: ServedModel | None, deadline: Deadline) -> Plan[None]:
        """Look again and again; what cannot become right ends it at once."""
        target = model or ServedModel("")
        while True:
            try:
                nearer = deadline.at_most(self.options.connect_timeout)
                states = yield from self.status_plan(target, nearer, _ONCE)
                missing = _missing(target, states)
            except (UnavailableError, DeadlineError, NotFoundError) as error:
                missing = str(error)
            except RefusedError:
                if model is not None:
                    raise
                missing = ""  # without a model's name any answer will do, this one too
            if not missing:
                return
            if deadline.left() <= _POLL:
                what = f"model {target.name!r}" if model else "the server"
                raise DeadlineError(
                    f"{what} is not ready after {deadline.seconds:g} s: {missing}",
                    address=self.balancer.addresses[0],
                    model=target.name or None,
                )
            yield Sleep(_POLL)


def _missing(model: ServedModel, states: list[VersionStatus]) -> str:
    """What keeps a model from answering, or nothing.

    Raises:
        ServingError: where all its versions ended in errors.
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
    seen = ", ".join(f"version {each.version} is {each.state}" for each in states)
    return seen or "there is no version yet"


def _server_config(config: str | Mapping[str, str | Path]) -> Any:
    """A ModelServerConfig from its text form, or from base paths by name."""
    from google.protobuf import text_format

    if not isinstance(config, str):
        made = ModelServerConfig()
        for name, path in config.items():
            made.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
        return made
    try:
        return text_format.Parse(config, ModelServerConfig(), descriptor_pool=POOL)
    except text_format.ParseError as error:
        raise ArgumentError(f"the configuration is no tensorflow.serving.ModelServerConfig: {first_line(error)}") from (
            error
        )
