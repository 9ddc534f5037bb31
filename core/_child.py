"""The child's side of `child_process`, and what both sides send each other: frames of a length and msgpack."""

from __future__ import annotations

import importlib
import inspect
import os
import queue
import signal
import sys
import threading
import time
import traceback
import typing
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from .errors import AttnexportError, first_line
from .process import start_fast
from .wording import as_typed

GRACE_SECONDS = 20.0  # to leave the contexts that were entered
_LENGTH_BYTES = 8
_ALARM_SECONDS = 10  # beyond the time of a call, if its caller is no longer there to end it
_MAX_MESSAGE = 1000  # characters


class Request(msgspec.Struct):
    """A function by name, its arguments, whether its result is a context to enter, and the seconds that it may take."""

    function: str
    args: list[Any]
    kwargs: dict[str, Any]
    enter: bool
    seconds: int


class Reply(msgspec.Struct):
    """A value, or the class of an error with its message."""

    value: Any = None
    error: str | None = None
    message: str = ""
    traceback: str = ""


def name_of(function: Callable[..., Any]) -> str:
    """How the child finds a function: `package.module:function`."""
    return f"{function.__module__}:{function.__qualname__}"


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function's parameters and of its result (`return`)."""
    return typing.get_type_hints(function)


def convert(value: Any, kind: Any) -> Any:
    """A received value as the type that an annotation promises.

    Raises:
        msgspec.ValidationError: if it is of another type.
    """
    return None if kind is type(None) else msgspec.convert(value, kind, dec_hook=_decode)


def frame(message: msgspec.Struct) -> bytes:
    """A message with its length before it."""
    content = msgspec.msgpack.encode(message, enc_hook=_encode)
    return len(content).to_bytes(_LENGTH_BYTES, "big") + content


def frame_length(data: bytes | bytearray) -> int | None:
    """Length of the frame that begins with these bytes; None if too few have arrived."""
    if len(data) < _LENGTH_BYTES:
        return None
    return _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big")


def read_reply(data: bytes | bytearray) -> Reply:
    """The reply in a whole frame.

    Raises:
        msgspec.DecodeError: if there is none.
    """
    return msgspec.msgpack.decode(memoryview(data)[_LENGTH_BYTES:], type=Reply)


def main() -> None:
    """Answer the requests on stdin until it ends."""
    start_fast()
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What libraries read and print must not come between the frames.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    inbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
    entered = threading.Event()
    threading.Thread(target=_receive, args=(requests, inbox, entered), daemon=True).start()
    with ExitStack() as contexts:
        contexts.enter_context(as_typed())  # the process that shows a message finds the words for it
        while (request := inbox.get()) is not None:
            signal.alarm(request.seconds + _ALARM_SECONDS)
            if request.enter:
                entered.set()
            replies.write(_answer(request, contexts))
            replies.flush()
            signal.alarm(0)
    sys.stderr.flush()
    os._exit(0)  # the destructors of the libraries have nothing to add


def _receive(stream: BinaryIO, inbox: queue.SimpleQueue[Request | None], entered: threading.Event) -> None:
    """Put requests into the inbox; when the parent is gone, end the process, whatever it is doing."""
    while len(header := stream.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
        content = stream.read(int.from_bytes(header, "big"))
        inbox.put(msgspec.msgpack.decode(content, type=Request))
    inbox.put(None)
    if entered.is_set():
        time.sleep(GRACE_SECONDS)
    os._exit(1)


def _answer(request: Request, contexts: ExitStack) -> bytes:
    """The frame of a reply."""
    try:
        function = _function(request.function)
        args, kwargs = _arguments(function, request.args, request.kwargs)
        value = function(*args, **kwargs)
        return frame(Reply(contexts.enter_context(value) if request.enter else value))
    except Exception as error:
        return frame(_failure(error))


def _failure(error: Exception) -> Reply:
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, AttnexportError):
        return Reply(error=type(error).__name__, message=str(error), traceback=trace)
    message = first_line(error, _MAX_MESSAGE)
    if not isinstance(error, OSError | MemoryError):
        message = f"{type(error).__name__}: {message}"
    return Reply(error="ProcessError", message=message, traceback=trace)


def _function(name: str) -> Callable[..., Any]:
    module, _, path = name.partition(":")
    function: Any = importlib.import_module(module)
    for part in path.split("."):
        function = getattr(function, part)
    return typing.cast(Callable[..., Any], function)


def _arguments(
    function: Callable[..., Any], args: list[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    hints = hints_of(function)
    names = list(inspect.signature(function).parameters) if hints else []
    typed = [convert(value, hints.get(name, Any)) for name, value in zip(names, args, strict=False)]
    return typed + args[len(typed) :], {name: convert(value, hints.get(name, Any)) for name, value in kwargs.items()}


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} cannot be sent to another process")


def _decode(kind: type, value: Any) -> Any:
    if issubclass(kind, Path):
        return kind(value)
    raise NotImplementedError(f"{kind.__name__} cannot be read from another process")
