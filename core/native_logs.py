"""What native libraries write on stderr, kept out of a notebook or a user's program."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .wording import is_typed

# Notes of LiteRT, of absl (TensorFlow's C++ parts), and the continuation of one. What does not look so is passed on.
_NOTE = re.compile(
    rb"(INFO|WARNING): (\[[\w.]+:\d+\]|Created TensorFlow Lite|All log messages before absl)"
    rb"|[IW]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ [\w.]+:\d+\]|\xe2\x94\x94 "
)
_lock = threading.RLock()
_working: list[int] = []  # descriptors of stderr as it was


@contextmanager
def without_native_logs() -> Iterator[None]:
    """Drop the notes that libraries write on descriptor 2 meanwhile; other lines appear there when it is over.

    A command has a place of its own for all that, which `--debug` shows.
    """
    if is_typed():
        yield
        return
    with _lock:
        if _working:
            yield
            return
        sys.stderr.flush()
        with tempfile.TemporaryFile() as sink:
            _working.append(os.dup(2))
            os.dup2(sink.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                kept = _working.pop()
                os.dup2(kept, 2)
                sink.seek(0)
                for line in sink:
                    if not _NOTE.match(line):
                        os.write(kept, line)
                os.close(kept)
