"""One request to one of several servers: whose turn it is, retries and deadlines."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from attnexport.core.errors import DeadlineError, ServingError, UnavailableError
from attnexport.serving.codec import ServedModel
from attnexport.serving.messages import METHODS

from .balancer import Balancer
from .options import ClientOptions, Retry
from .plan import Deadline, Plan, Sleep
from .transport import Call


@dataclass(frozen=True)
class Reply:
    """The bytes of a reply, and the server that sent it."""

    data: bytes
    address: str


class Dispatcher:
    """Sends requests to the servers of a client, in turn."""

    def __init__(self, addresses: Sequence[str], options: ClientOptions) -> None:
        self.options = options
        self._balancer = Balancer(addresses)
        self._metadata = tuple(options.metadata.items())

    @property
    def addresses(self) -> tuple[str, ...]:
        """The servers' addresses."""
        return self._balancer.addresses

    def send(
        self, method: str, request: bytes, deadline: Deadline, model: ServedModel, *, retry: Retry | None = None
    ) -> Plan[Reply]:
        """Send to the server whose turn it is; if it is unavailable, to the others, then to all again."""
        retry = retry or self.options.retry
        tried: set[int] = set()
        rounds = 1
        failure: ServingError | None = None
        while True:
            index = self._balancer.pick(tried)
            address = self.addresses[index]
            try:
                left = deadline.check(f"{method} of model {model.name!r} at {address}")
                data = yield from self.send_to(address, method, request, left, model)
            except UnavailableError as error:
                self._balancer.failed(index)
                failure = error
                tried.add(index)
                if len(tried) < len(self.addresses):
                    continue
                pause = retry.pause(rounds, random.random())  # noqa: S311 - jitter is no secret
                if rounds == retry.attempts or deadline.left() <= pause:
                    raise _with_attempts(error, len(tried), rounds) from error
                yield Sleep(pause)
                rounds += 1
                tried.clear()
            except DeadlineError as error:
                self._balancer.failed(index)
                if failure is not None:
                    raise error.reworded(f"{error}; before that, {failure}") from error
                raise
            else:
                self._balancer.answered(index)
                return Reply(data, address)

    def send_to(self, address: str, method: str, request: bytes, timeout: float, model: ServedModel) -> Plan[bytes]:
        """Send to one server, once."""
        try:
            path = METHODS[method].path if method in METHODS else method
            data: bytes = yield Call(address, path, request, timeout, self._metadata)
        except ServingError as error:
            error.address = address
            error.model, error.signature = model.name or None, model.signature or None
            raise
        return data


def _with_attempts(error: UnavailableError, servers: int, rounds: int) -> UnavailableError:
    others = f"; the other {servers - 1} of {servers} addresses failed too" if servers > 1 else ""
    times = f" (tried {rounds} times)" if rounds > 1 else ""
    return error.reworded(f"{error}{others}{times}")
