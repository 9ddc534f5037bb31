"""The journal of a commit: what a sweep needs to undo one that was cut off."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attnexport.core.errors import StorageError

from .files import make_directories, sync, write_atomically
from .manifest import Manifest, VersionEntry

_JOURNAL = "commit.json"


class Journal:
    """The names that a commit is about to give, in its temporary directory, until it is decided or undone.

    A journal that is there may be undone at any time, so it goes, on disk too, before anything that it does not know
    of can happen to those names, and before the temporary directory does, which holds what an undo needs.
    """

    def __init__(self, root: Path, temporary: Path) -> None:
        self._root = root
        self._temporary = temporary
        self._path = temporary / _JOURNAL

    def exists(self) -> bool:
        return self._path.exists()

    def write(self, entry: VersionEntry, finals: Mapping[Path, Path]) -> None:
        """Keep what has the names now, and note what is to get them.

        Args:
            entry: What the manifest is to say of the version.
            finals: Each artifact's path in the temporary directory, and its final one.

        Raises:
            StorageError: where something other than a file has one of the names.
        """
        names = {}
        for number, (staged, final) in enumerate(finals.items()):
            backup = f"old-{number}" if os.path.lexists(final) else None  # null: nothing has the name
            if backup:
                if not final.is_file():
                    raise StorageError(f"{final} is in the way: move it elsewhere")
                _link(final, self._temporary / backup)
            origin = staged.relative_to(self._temporary).as_posix()
            names[final.relative_to(self._root).as_posix()] = {"staged": origin, "backup": backup}
        hashes = [(each.path, each.content_hash) for each in entry.artifacts if each.path in names]
        document = {"version": entry.version, "names": names, "artifacts": hashes}
        write_atomically(self._path, json.dumps(document))
        sync(self._root)

    def is_committed(self, manifest: Manifest) -> bool:
        """Whether the manifest says what it was to say; so too where there is nothing to undo."""
        document = self._read()
        if document is None:
            return True
        versions = {entry.version for entry in manifest.versions}
        told = {(each.path, each.content_hash) for entry in manifest.versions for each in entry.artifacts}
        return document["version"] in versions and {tuple(each) for each in document["artifacts"]} <= told

    def undo(self) -> None:
        """Take back every name that was given. To do it again, wherever it was cut off, changes nothing more."""
        document = self._read()
        if document is None:
            return
        for path, name in document["names"].items():
            final, staged = self._root / path, self._temporary / name["staged"]
            if os.path.lexists(staged):
                continue  # not given yet, or taken back: whatever has the name is not this commit's
            if name["backup"] is None:
                # Renamed, not removed: a server may be looking, and half a SavedModel must not be seen.
                with suppress(FileNotFoundError):
                    os.rename(final, staged)
            elif os.path.lexists(backup := self._temporary / name["backup"]):  # else it is in its place already
                make_directories(final.parent)
                os.replace(backup, final)
        for parent in {(self._root / path).parent for path in document["names"]}:
            self._remove_empty(parent)

    def forget(self) -> None:
        """Take the journal away, on disk too."""
        if self.exists():
            self._path.unlink()
            sync(self._temporary)

    def _read(self) -> dict[str, Any] | None:
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            document = None
        if not isinstance(document, dict) or document.keys() != {"version", "names", "artifacts"}:
            raise StorageError(
                f"{self._path} is no journal that this attnexport reads, so what a killed export left cannot be taken "
                f"back: let the attnexport that wrote it export once more, or move {self._temporary} away"
            )
        return document

    def _remove_empty(self, directory: Path) -> None:
        """Take a directory away that is empty, and those above that are so then; flush what stays."""
        while directory != self._root:
            try:
                directory.rmdir()
            except FileNotFoundError:
                pass  # it was never made
            except OSError:
                break
            directory = directory.parent
        sync(directory)


def _link(source: Path, target: Path) -> None:
    """A second name for a file, a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync(target)
