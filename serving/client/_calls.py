"""One request to one of several servers: whose turn it is, tries, and deadlines."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from attnexport.core.errors import ArgumentError, DeadlineError, ServingError, UnavailableError, check_size
from attnexport.core.limits import MAX_VERSION
from attnexport.serving.codec import ServedModel
from attnexport.serving.messages import METHODS

from .balancer import Balancer
from .options import ClientOptions, Retry, check_address
from .plan import Call, Deadline, Plan, Sleep


@dataclass(frozen=True)
class Reply:
    """The bytes of a reply, and who gave it."""

    data: bytes
    address: str


class Asking:
    """Plans that ask. The addresses and the options are the client's.

    Raises:
        ArgumentError: for an address that is none, or none at all.
    """

    def __init__(self, addresses: str | Sequence[str], options: ClientOptions) -> None:
        given = [addresses] if isinstance(addresses, str) else list(addresses)
        if not given:
            raise ArgumentError("a client needs the address of a server, HOST:PORT")
        self.options = options
        self.balancer = Balancer([check_address(address) for address in given])

    def ask(
        self, method: str, request: bytes, deadline: Deadline, model: ServedModel, *, retry: Retry | None = None
    ) -> Plan[Reply]:
        """Ask a server in turn; another one, then all again, while nobody is there to answer."""
        retry = retry or self.options.retry
        tried: set[int] = set()
        rounds = 1
        failure: ServingError | None = None
        while True:
            index = self.balancer.pick(tried)
            try:
                left = deadline.check(f"{method} of model {model.name!r} at {self.balancer.addresses[index]}")
                data = yield from self.ask_one(index, method, request, left, model)
            except UnavailableError as error:
                self.balancer.failed(index)
                failure = error
                tried.add(index)
                if len(tried) < len(self.balancer.addresses):
                    continue
                pause = retry.pause(rounds, random.random())  # noqa: S311 - jitter is no secret
                if rounds == retry.attempts or deadline.left() <= pause:
                    raise _worded(error, len(tried), rounds) from error
                yield Sleep(pause)
                rounds += 1
                tried.clear()
            except DeadlineError as error:
                self.balancer.failed(index)
                if failure is not None:
                    raise error.reworded(f"{error}; before that, {failure}") from error
                raise
            else:
                self.balancer.answered(index)
                return Reply(data, self.balancer.addresses[index])

    def ask_one(self, index: int, method: str, request: bytes, timeout: float, model: ServedModel) -> Plan[bytes]:
        """Ask the server of that index, once."""
        try:
            data: bytes = yield Call(index, METHODS[method].path, request, timeout)
        except ServingError as error:
            error.address = self.balancer.addresses[index]
            error.model, error.signature = model.name or None, model.signature or None
            raise
        return data

    def target(
        self, model: str | None, version: int | None = None, label: str | None = None, signature: str = ""
    ) -> ServedModel:
        """Which model a call is for.

        Raises:
            ArgumentError: where no model is named, or a version and a label.
        """
        name = model or self.options.model
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

    def deadline(self, timeout: float | None) -> Deadline:
        """When a call ends that began now."""
        return Deadline(self.options.timeout if timeout is None else timeout)


def unsigned(model: ServedModel) -> ServedModel:
    """The model without a signature, for calls that take none."""
    return model._replace(signature="")


def _worded(error: UnavailableError, servers: int, rounds: int) -> UnavailableError:
    """With what was tried."""
    others = f"; the other {servers - 1} of {servers} addresses failed too" if servers > 1 else ""
    times = f" (tried {rounds} times)" if rounds > 1 else ""
    return error.reworded(f"{error}{others}{times}")
