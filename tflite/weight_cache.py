"""XNNPACK's packed weights on disk: a large file loads in a fraction of the time, and processes share the memory.

XNNPACK checks that a cache fits its own version, but not the model, the processor or the content: the packed weights of
another model, or damaged ones, give wrong numbers without an error. So each cache is named after the hash of its model,
the runtime and the processor, and has a stamp beside it with its size and time, which is written when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from attnexport.core.errors import ModelError
from attnexport.store.files import hash_of, write_atomically

from .processor import processor_flags

VARIABLE = "ATTNEXPORT_WEIGHT_CACHE"  # of the environment: the directory; empty for no cache

_MOST_BYTES = 4 << 30  # of all caches; the ones not used for longest are deleted
_T = TypeVar("_T")


def cache_directory() -> Path | None:
    """The directory of the caches; None if there are to be none."""
    if (chosen := os.environ.get(VARIABLE)) is not None:
        return Path(chosen) if chosen else None
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "attnexport" / "xnnpack"


def with_weight_cache(model: Path, compile_with: Callable[[Path], _T], close: Callable[[_T], None]) -> _T | None:
    """Compile a model with its cache, which is made first if there is none.

    Args:
        model: The .tflite.
        compile_with: Compiles it with the cache at a path.
        close: Frees what that gave, so that what stays in use is the cache and not what was packed to make it.

    Returns:
        What `compile_with` gave; None if there can be no cache: its directory cannot be written or belongs to somebody
        else, or nothing in the model is packed.

    Raises:
        ModelError: if the model does not compile.
    """
    directory = cache_directory()
    if directory is None:
        return None
    with suppress(OSError, RuntimeError):  # without a home, too
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if hasattr(os, "getuid") and directory.stat().st_uid != os.getuid():
            return None
        file = directory / f"{_key(model)}.xnnpack"
        if not _is_whole(file) and not _make(file, compile_with, close):
            return None
        os.utime(_stamp(file))  # last used now
        return compile_with(file)
    return None


def _make(file: Path, compile_with: Callable[[Path], _T], close: Callable[[_T], None]) -> bool:
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=file.parent) as name:
        made = Path(name) / file.name
        close(compile_with(made))
        if not made.exists():
            return False
        _make_room(file.parent, made.stat().st_size)
        _stamp(file).unlink(missing_ok=True)
        os.replace(made, file)
        write_atomically(_stamp(file), _description(file))
    return True


def _is_whole(file: Path) -> bool:
    try:
        return _stamp(file).read_text(encoding="ascii", errors="replace") == _description(file)
    except OSError:
        return False


def _description(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns}\n"


def _stamp(file: Path) -> Path:
    return file.with_suffix(".stamp")


def _make_room(directory: Path, needed: int) -> None:
    """Delete the caches that were not used for longest, until all have a place."""
    used = sorted(directory.glob("*.stamp"), key=lambda each: each.stat().st_mtime, reverse=True)
    for stamp in used:
        file = stamp.with_suffix(".xnnpack")
        needed += file.stat().st_size if file.exists() else 0
        if needed > _MOST_BYTES:
            stamp.unlink(missing_ok=True)
            file.unlink(missing_ok=True)


def _key(model: Path) -> str:
    """The hash of a model, the runtime and the processor."""
    try:
        content = hash_of(model)
    except OSError as error:
        raise ModelError(f"{model} cannot be read: {error.strerror}") from error
    return hashlib.sha256(f"{content} {version('ai-edge-litert')} {_processor()}".encode()).hexdigest()


def _processor() -> str:
    """What decides on XNNPACK's kernels, and so on the layout of packed weights."""
    return " ".join(sorted(processor_flags())) or f"{platform.machine()} {platform.processor()}"
