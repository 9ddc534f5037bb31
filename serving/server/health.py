"""gRPC's health service.

The one of grpcio-health-checking holds a lock while it sends, so that a client that reads nothing keeps everybody from
being answered, and it keeps its watchers until the grace period ends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from .workers import Workers

NAME = "grpc.health.v1.Health"
_SERVICES = ("", "ModelService", "PredictionService")  # as TF Serving names them
_MAX_WATCHERS = 100  # each has a thread that waits
_STATES = health_pb2.HealthCheckResponse


class Health:
    """Answers whether the server serves, once or at each change.

    Args:
        pool: Threads of its calls.
    """

    def __init__(self, pool: Workers) -> None:
        self._pool = pool
        self._changed = threading.Condition()  # of what follows
        self._is_serving = self._is_ended = False
        self._watchers = 0

    def handlers(self) -> dict[str, Any]:
        """The methods of the service, for gRPC."""
        kind: dict[str, Any] = {"response_serializer": _STATES.SerializeToString}

        def check(requests: Iterator[bytes], context: Any) -> Any:
            return self._check(requests, context)

        def watch(requests: Iterator[bytes], context: Any) -> Any:
            return self._watch(requests, context)

        check.experimental_thread_pool = watch.experimental_thread_pool = self._pool  # type: ignore[attr-defined]
        return {
            "Check": grpc.stream_unary_rpc_method_handler(check, **kind),
            "Watch": grpc.stream_stream_rpc_method_handler(watch, **kind),
        }

    def serve(self) -> None:
        """Answer that the server serves from now on."""
        with self._changed:
            self._is_serving = True
            self._changed.notify_all()

    def end(self) -> None:
        """Answer that the server does not serve, and end the calls of watchers with that."""
        with self._changed:
            self._is_serving, self._is_ended = False, True
            self._changed.notify_all()

    def _state(self, service: str) -> Any:
        if service not in _SERVICES:
            return _STATES.SERVICE_UNKNOWN
        return _STATES.SERVING if self._is_serving else _STATES.NOT_SERVING

    def _service(self, requests: Iterator[bytes], context: Any) -> str:
        message = self._pool.receive(requests, context.cancel)
        try:
            return str(health_pb2.HealthCheckRequest.FromString(message or b"").service)
        except Exception as error:  # protobuf's, of whichever implementation
            context.abort(grpc.StatusCode.INTERNAL, f"the bytes of the request are not a HealthCheckRequest: {error}")
            raise

    def _check(self, requests: Iterator[bytes], context: Any) -> Any:
        state = self._state(self._service(requests, context))
        if state == _STATES.SERVICE_UNKNOWN:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no such service; it knows {', '.join(_SERVICES[1:])}")
        return _STATES(status=state)

    def _watch(self, requests: Iterator[bytes], context: Any) -> Iterator[Any]:
        service = self._service(requests, context)
        is_open = threading.Event()
        is_open.set()

        def gone() -> None:
            is_open.clear()
            with self._changed:
                self._changed.notify_all()

        with self._changed:
            if self._watchers >= _MAX_WATCHERS:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many clients watch; use Check")
            self._watchers += 1
        try:
            if context.add_callback(gone):
                with self._pool.not_running():
                    yield from self._changes(service, is_open)
        finally:
            with self._changed:
                self._watchers -= 1

    def _changes(self, service: str, is_open: threading.Event) -> Iterator[Any]:
        last = None
        while is_open.is_set():
            with self._changed:
                while (state := self._state(service)) == last and not self._is_ended and is_open.is_set():
                    self._changed.wait()
            if state != last and is_open.is_set():
                yield _STATES(status=state)
                last = state
            if self._is_ended and state == self._state(service):
                return
