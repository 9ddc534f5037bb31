"""Work in a child process: a crash there is an error here, and nothing of it is left behind.

    with Child(running="the interpreter") as child:
        sizes = child.call(measure, Path("model.tflite"))

The child is Python with `-P`, so that nothing is imported from the working directory. It loads this very copy of
attnexport from its files and calls functions by their names; arguments and results are msgpack, which the receiving
side checks against the function's annotations. What the functions print is kept off the replies.

A child ends with its `Child`. If this process dies first, the child sees that the pipe is closed and ends itself;
should it be stuck in native code, an alarm ends it soon after the time of the call is over.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, get_args

import msgspec

from . import errors
from ._child import GRACE_SECONDS, Reply, Request, convert, frame, frame_length, hints_of, name_of, read_reply
from .errors import AttnexportError, ProcessError

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_TIMEOUT = 600.0  # seconds; a call that is meant to end takes far less
MAX_REPLY_BYTES = 64 << 20
_MAX_STDERR_BYTES = 4096  # that are kept
_CHUNK_BYTES = 1 << 16

# Loads attnexport from the files that it was loaded from here, whatever the child's path would find.
_BOOTSTRAP = """\
import importlib.util, sys
spec = importlib.util.spec_from_file_location("attnexport", sys.argv[1])
sys.modules["attnexport"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from attnexport.core._child import main
main()
"""


class Child:
    """A Python process that calls functions, one after another.

    It starts with the first call. After a crash or a timeout the next call starts another process.

    Args:
        running: What a crash takes down, for messages: "it crashes the interpreter (signal 11)".
        timeout: Seconds that one call may take.
        inherited: Open files that it gets, under the same numbers.

    Attributes:
        timeout: As given; may be changed before a call.

    Example:
        >>> import math
        >>> with Child() as child:
        ...     child.call(math.gcd, 12, 18)
        6
    """

    def __init__(
        self, *, running: str = "its process", timeout: float = DEFAULT_TIMEOUT, inherited: Sequence[int] = ()
    ) -> None:
        self._running, self.timeout, self._inherited = running, timeout, inherited
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = b""
        self._entered = self._killed = False
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process's number, None if none runs."""
        return self._process.pid if self._process else None

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in the child.

        Args:
            function: A function at the top of a module. Numbers, text, bytes, paths, dataclasses and containers of
                these may be its arguments and its result, all annotated; their types are imported at run time.
            args: Its arguments.
            kwargs: Its arguments by name.

        Returns:
            What the function returns.

        Raises:
            AttnexportError: as the function raised it.
            ProcessError: if the function failed otherwise, or the child crashed or did not answer in time.
        """
        result: R = self._ask(function, args, kwargs, hints_of(function).get("return", Any), enter=False)
        return result

    def enter(self, function: Callable[P, AbstractContextManager[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Enter a context manager in the child, which leaves it when this `Child` is closed.

        Args:
            function: As for `call`, a generator under `contextlib.contextmanager`.
            args: Its arguments.
            kwargs: Its arguments by name.

        Returns:
            What the context manager yields.

        Raises:
            AttnexportError: as of `call`.
        """
        kinds = get_args(hints_of(function).get("return", Any))
        result: R = self._ask(function, args, kwargs, kinds[0] if kinds else Any, enter=True)
        self._entered = True
        return result

    def kill(self) -> None:
        """End the process from another thread: the call under way and later ones raise ProcessError."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                _kill_group(self._process)

    def close(self) -> None:
        """End the process: at once, or if a context was entered, once it is left."""
        process, self._process = self._process, None
        entered, self._entered = self._entered, False
        if process is None:
            return
        try:
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()
            if entered:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_SECONDS)
        finally:
            _kill_group(process)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, function: Callable[..., Any], args: Any, kwargs: Any, kind: Any, *, enter: bool) -> Any:
        request = Request(name_of(function), list(args), dict(kwargs), enter, math.ceil(self.timeout))
        try:
            reply = self._exchange(frame(request))
            if reply.error is None:
                return convert(reply.value, kind)
        except msgspec.MsgspecError as error:
            self.close()
            raise ProcessError(f"{self._running} gave a reply that cannot be read: {error}") from error
        except BaseException:
            self.close()
            raise
        raise _error_of(reply)

    def _exchange(self, data: bytes) -> Reply:
        """Send a frame and receive one."""
        process = self._process or self._start()
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None  # noqa: S101 - both are pipes
        assert stdout is not None  # noqa: S101
        deadline = time.monotonic() + self.timeout
        pending, received = memoryview(data), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            selector.register(stdin, selectors.EVENT_WRITE)
            while ready := selector.select(max(0.0, deadline - time.monotonic())):
                for key, _ in ready:
                    if key.fileobj is stdin:
                        pending = pending[_write(stdin.fileno(), pending) :]
                        if not pending:
                            selector.unregister(stdin)
                        continue
                    chunk = os.read(stdout.fileno(), _CHUNK_BYTES)
                    received += chunk
                    if not chunk:
                        raise ProcessError(self._end(process))
                    length = frame_length(received)
                    if length is not None and length > MAX_REPLY_BYTES:
                        raise ProcessError(
                            f"{self._running} gave a reply of {length:,} bytes; {MAX_REPLY_BYTES:,} is most"
                        )
                    if length is not None and len(received) >= length:
                        return read_reply(received[:length])
        raise ProcessError(f"it hangs {self._running}: no reply within {self.timeout:g} s")

    def _start(self) -> subprocess.Popen[bytes]:
        package = sys.modules["attnexport"].__file__
        with self._lock:
            if self._killed:
                raise ProcessError(f"{self._running} was ended")
            process = self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", _BOOTSTRAP, str(package)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=self._inherited,
                start_new_session=True,  # Ctrl-C is for this process, which then ends the child
            )
        self._stderr = b""
        threading.Thread(target=self._drain, args=(process,), daemon=True).start()
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
        return process

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        """Read stderr, lest the child waits for room in the pipe, and keep its end."""
        with suppress(OSError, ValueError):
            assert process.stderr is not None  # noqa: S101
            with process.stderr as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    self._stderr = (self._stderr + chunk)[-_MAX_STDERR_BYTES:]

    def _end(self, process: subprocess.Popen[bytes]) -> str:
        """What became of a child that gave no reply."""
        try:
            code = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return f"it hangs {self._running}: it closed its pipe and did not end"
        if code == -signal.SIGKILL:
            return "it was killed (signal 9), as the system does when memory runs out"
        if code < 0:
            return f"it crashes {self._running} (signal {-code})"
        words = self._stderr.decode(errors="replace").strip().splitlines()
        return words[-1] if words else f"{self._running} ended with exit code {code}"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a child and whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _write(descriptor: int, data: memoryview) -> int:
    """Number of bytes that need not be written again: all if the child no longer reads, as its replies then end."""
    try:
        return os.write(descriptor, data[:_CHUNK_BYTES])
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)


def _error_of(reply: Reply) -> AttnexportError:
    """The error that was raised in the child, with its traceback as the cause, which --debug shows."""
    kind = getattr(errors, reply.error or "", None)
    if not (isinstance(kind, type) and issubclass(kind, AttnexportError)):
        kind = ProcessError
    error = kind(reply.message)
    error.__cause__ = ProcessError(f"in the child process:\n{reply.traceback}")
    return error
