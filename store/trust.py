"""Whether the modules that an export names may be imported: importing a module runs it.

An export that this installation wrote is trusted: with it, the user's state directory keeps the hash of its original
and where each of its modules was, with the hash of their files. Every other export is refused until the user names the
modules, or trusts its maker.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from filelock import FileLock

from attnexport.core.documents import convert, read_json
from attnexport.core.errors import ContentError, ModelError

from .files import hash_of, make_directories, write_atomically

VARIABLE = "ATTNEXPORT_TRUST"  # of the environment; 1 trusts every export

_MAX_ORIGINALS = 1000  # in the file; the oldest are forgotten
_trusts_all: ContextVar[bool] = ContextVar("trusts_all", default=False)


@dataclass(frozen=True)
class ModuleRecord:
    """A module as it was when the export was written: the path of its file, and the hash of its content."""

    path: str
    hash: str


@dataclass(frozen=True)
class TrustDocument:
    """The modules of each export that was written here, by the hash of its original."""

    originals: Mapping[str, Mapping[str, ModuleRecord]]


@contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """Trust every export in this block: the modules that it names are imported.

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
    if _trusts_all.get() or os.environ.get(VARIABLE) == "1":
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
    if not records:
        return
    with suppress(OSError, RuntimeError):
        path = _path()
        make_directories(path.parent)
        with FileLock(f"{path}.lock"):
            originals = {key: each for key, each in _read().originals.items() if key != original_hash}
            kept = dict([*originals.items(), (original_hash, records)][-_MAX_ORIGINALS:])
            write_atomically(path, json.dumps(asdict(TrustDocument(kept)), indent=2) + "\n")


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
