"""What native libraries write on stderr, kept out of a notebook or a user's program."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from .wording import is_typed

# Notes of LiteRT, of absl (TensorFlow's C++ parts), and the continuation of one. What does not look so is passed on.
_NOTE = re.compile(
    rb"(INFO|WARNING): (\[[\w.]+:\d+\]|Created TensorFlow Lite|All log messages before absl)"
    rb"|[IW]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ [\w.]+:\d+\]|\xe2\x94\x94 "
)


class _Filter:
    """Takes what is written on descriptor 2 while anybody works; when the last is done, passes on what is no note."""

    def __init__(self) -> None:
        self._lock, self._working = threading.Lock(), 0
        self._sink: BinaryIO | None = None
        self._kept = -1  # a copy of descriptor 2 as it was

    def enter(self) -> None:
        with self._lock:
            self._working += 1
            if self._working == 1:
                _flush()
                with suppress(OSError):  # closed, or nowhere to write: then it stays as it is
                    self._sink = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `leave`
                    self._kept = os.dup(2)
                    os.dup2(self._sink.fileno(), 2)

    def leave(self) -> None:
        with self._lock:
            self._working -= 1
            if self._working or self._sink is None:
                return
            _flush()
            sink, self._sink = self._sink, None
            with sink, suppress(OSError):  # nobody may read stderr any more
                if self._kept < 0:
                    return
                kept, self._kept = self._kept, -1
                os.dup2(kept, 2)
                os.close(kept)
                sink.seek(0)
                for line in sink:
                    if not _NOTE.match(line):
                        os.write(2, line)


def _flush() -> None:
    with suppress(OSError, ValueError, AttributeError):  # closed, or none, or an object of a program's own
        sys.stderr.flush()


_filter = _Filter()


@contextmanager
def without_native_logs() -> Iterator[None]:
    """Drop the notes that libraries write on descriptor 2 meanwhile; other lines appear there when it is over.

    A command has a place of its own for all that, which `--debug` shows. What a crash writes is lost.
    """
    if is_typed() or sys.stderr is None:
        yield
        return
    _filter.enter()
    try:
        yield
    finally:
        _filter.leave()
