"""Whether what an export names or holds may be run: its modules, and its SavedModel, which is a program.

An export that this installation wrote is trusted: the user's state directory keeps the hash of its original and where
each of its modules was, with the hash of their files, and the hashes of its SavedModels that do more than compute.
Every other export is refused until the user names the modules, or trusts its maker.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from attnexport.core.documents import convert, read_json
from attnexport.core.errors import ContentError, ModelError

from .files import hash_of, make_directories, write_atomically

VARIABLE = "ATTNEXPORT_TRUST"  # of the environment; 1 trusts every export

_MAX_ORIGINALS = 1000  # and as many programs in the file; the oldest are forgotten

_Value = TypeVar("_Value")
_written: set[str] = set()  # programs of this process, which may have no state directory
_trusts_all: ContextVar[bool] = ContextVar("trusts_all", default=False)


@dataclass(frozen=True)
class ModuleRecord:
    """A module as it was when the export was written: the path of its file, and the hash of its content."""

    path: str
    hash: str


@dataclass(frozen=True)
class TrustDocument:
    """What was written here.

    Attributes:
        originals: The modules of each export, by the hash of its original.
        programs: The hashes of the SavedModels that do more than compute.
    """

    originals: Mapping[str, Mapping[str, ModuleRecord]]
    programs: Sequence[str] = ()


@contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """Trust every export in this block: the modules that it names are imported, and its SavedModels run unread.

    Args:
        trust: Whether to do so; otherwise the block changes nothing.

    Example:
        >>> with trusting():
        ...     check_modules(["layers"], Path("keras/1.keras"))
    """
    token = _trusts_all.set(trust or _trusts_all.get())
    try:
        yield
    finally:
        _trusts_all.reset(token)


def is_trusting() -> bool:
    """Whether every export is trusted: in a block of `trusting()`, or by the environment.

    A thread that is started in such a block does not know of it.
    """
    return _trusts_all.get() or os.environ.get(VARIABLE) == "1"


def check_modules(names: Sequence[str], original: Path, allowed: Sequence[str] = ()) -> None:
    """Refuse to import modules that an export names, unless that is known to be safe.

    Modules that are imported already, that the user named, and those of an export that this installation wrote are
    safe, if they are the same files as then.

    Args:
        names: The modules, as the manifest names them.
        original: The file or directory of the export's original.
        allowed: The modules that the user named.

    Raises:
        ModelError: naming the modules that would be run.
    """
    if is_trusting():
        return
    unknown = [name for name in names if name not in sys.modules and name not in allowed]
    if not unknown:
        return
    recorded = _read().originals.get(hash_of(original), {}) if original.exists() else {}
    changed = [name for name in unknown if _records(name) is None or recorded.get(name) != _records(name)]
    if changed:
        modules = ", ".join(
            f"{name} ({record.path if (record := _records(name)) else 'not found'})" for name in changed
        )
        options = " ".join(f"--import {name}" for name in changed)
        raise ModelError(
            f"{original} was not exported here with these modules, and loading it would run {modules}: give {options} "
            "if you trust them, or --trust if you trust whoever made the export"
        )


def remember_modules(names: Sequence[str], original_hash: str) -> None:
    """Keep in the user's state directory that an export was written here; without one that can be written, nothing.

    Args:
        names: The modules that it names.
        original_hash: The hash of its original's files.
    """
    records = {name: record for name in names if (record := _records(name)) is not None}
    if records:
        _update(lambda known: replace(known, originals=_appended(known.originals, original_hash, records)))


def made_here(saved_model: Path) -> bool:
    """Whether a SavedModel is one that `remember_program` was called with."""
    programs = {*_read().programs, *_written}
    return bool(programs) and hash_of(saved_model) in programs


def remember_program(saved_model_hash: str) -> None:
    """Keep in the user's state directory that a SavedModel was written here, though it does more than compute.

    Without one that can be written, this process alone knows of it.

    Args:
        saved_model_hash: The hash of its files.
    """
    _written.add(saved_model_hash)
    _update(
        lambda known: replace(known, programs=list(_appended(dict.fromkeys(known.programs), saved_model_hash, None)))
    )


def _update(change: Callable[[TrustDocument], TrustDocument]) -> None:
    with suppress(OSError, RuntimeError):
        path = _path()
        make_directories(path.parent)
        with FileLock(f"{path}.lock"):
            write_atomically(path, json.dumps(asdict(change(_read())), indent=2) + "\n")


def _appended(known: Mapping[str, _Value], key: str, value: _Value) -> dict[str, _Value]:
    """The newest entries, this one last."""
    others = {each: kept for each, kept in known.items() if each != key}
    return dict([*others.items(), (key, value)][-_MAX_ORIGINALS:])


def _path() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "attnexport" / "trust.json"


def _read() -> TrustDocument:
    try:
        path = _path()
        return convert(read_json(path), TrustDocument, str(path))
    except (ContentError, OSError, RuntimeError):  # none yet, damaged, or no home
        return TrustDocument({})


def _records(name: str) -> ModuleRecord | None:
    """Where a module would be imported from, and what is there; found without importing its packages."""
    folders: Sequence[str] | None = [*sys.path, os.getcwd()]
    files: list[str] = []
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), folders)
        if spec is None:
            return None
        if spec.has_location and spec.origin:
            files.append(os.path.realpath(spec.origin))
        folders = list(spec.submodule_search_locations or ())
    if not files:
        return None
    return ModuleRecord(files[-1], " ".join(hash_of(Path(file)) for file in files))
