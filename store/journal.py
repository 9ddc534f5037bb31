"""The journal of a commit: what a sweep needs to undo one that was cut off.

An export may come from somebody else, with a journal in it. So one is carried out only if it names what a commit of
this export writes: relative names of one version, of artifacts that the manifest does not list as they are, and without
links. Anything else is refused before anything is touched.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from attnexport.core.documents import convert, read_json
from attnexport.core.errors import ArgumentError, ContentError, StorageError

from .files import make_directories, sync, write_atomically
from .links import has_link
from .manifest import Manifest, VersionEntry
from .records import KINDS, check_relative

_MAX_NAME = 255  # bytes
_JOURNAL = "commit.json"


@dataclass(frozen=True)
class StagedName:
    """A name that a commit gives: where its file was staged, and where the file that had the name is kept."""

    staged: str
    backup: str | None


@dataclass(frozen=True)
class JournalDocument:
    """What a journal holds: the version, the final names, and the path and content hash of each artifact."""

    version: int
    names: Mapping[str, StagedName]
    artifacts: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        for path, name in self.names.items():
            kind, _, rest = check_relative(path).partition("/")
            if kind not in KINDS or rest.split("/")[0].split(".")[0] != str(self.version):
                raise ArgumentError(f"{path!r} is not an artifact of version {self.version}")
            for inner in (name.staged, name.backup or name.staged):
                if "/" in check_relative(inner) or inner.startswith("."):
                    raise ArgumentError(f"{inner!r} is not the name of a staged file")


class Journal:
    """The names that a commit is about to give, in its temporary directory, until it is decided or undone.

    A journal may be undone as long as it exists. It is therefore removed, also on disk, before anything else happens to
    those names, and before the temporary directory, which holds what an undo needs.
    """

    def __init__(self, root: Path, temporary: Path) -> None:
        self._root = root
        self._temporary = temporary
        self._path = temporary / _JOURNAL

    def exists(self) -> bool:
        return self._path.exists()

    def write(self, entry: VersionEntry, finals: Mapping[Path, Path]) -> None:
        """Keep the files that have the names now, and write down which files get them.

        Args:
            entry: The version's entry in the new manifest.
            finals: The final path of each artifact, by its path in the temporary directory.

        Raises:
            StorageError: if something other than a file has one of the names.
        """
        names = {}
        for number, (staged, final) in enumerate(finals.items()):
            backup = f"old-{number}" if os.path.lexists(final) else None  # null: no file has the name
            if backup:
                if not final.is_file():
                    raise StorageError(f"{final} is in the way: move it elsewhere")
                _link(final, self._temporary / backup)
            origin = staged.relative_to(self._temporary).as_posix()
            names[final.relative_to(self._root).as_posix()] = {"staged": origin, "backup": backup}
        hashes = [(each.path, each.content_hash) for each in entry.artifacts if each.path in names]
        write_atomically(self._path, json.dumps({"version": entry.version, "names": names, "artifacts": hashes}))
        sync(self._root)

    def is_committed(self, manifest: Manifest) -> bool:
        """Whether the manifest has the version and the artifacts, or there is no journal."""
        document = self._read()
        if document is None:
            return True
        versions = {entry.version for entry in manifest.versions}
        listed = {(each.path, each.content_hash) for entry in manifest.versions for each in entry.artifacts}
        return document.version in versions and set(document.artifacts) <= listed

    def check(self, manifest: Manifest) -> None:
        """Refuse a journal whose undo would follow a link, or change an artifact that is as the manifest lists it.

        Raises:
            StorageError: naming the journal. Nothing has changed then.
        """
        document = self._read()
        listed = {each.path: each for entry in manifest.versions for each in entry.artifacts}
        for path, name in document.names.items() if document is not None else ():
            staged, backup = (None if each is None else self._temporary / each for each in (name.staged, name.backup))
            if max(len(part.encode()) for part in f"{path}/{name.staged}/{name.backup}".split("/")) > _MAX_NAME:
                raise self._refusal(f"a name for {path[:100]!r} is longer than a file's may be")
            if has_link(self._root, path):
                raise self._refusal(f"{path!r} leads through a link")
            if any(each is not None and each.is_symlink() for each in (staged, backup)):
                raise self._refusal(f"a file staged for {path!r} is a link")
            acts = not os.path.lexists(str(staged)) and (backup is None or os.path.lexists(backup))
            artifact = listed.get(path)
            if acts and artifact is not None and artifact.file_hash is not None and artifact.change(self._root) is None:
                raise self._refusal(f"{path!r} is listed in the manifest, and as it was exported")

    def undo(self) -> None:
        """Take back every name that was given. Undoing again, wherever it was cut off, changes nothing more."""
        document = self._read()
        if document is None:
            return
        for path, name in document.names.items():
            final, staged = self._root / path, self._temporary / name.staged
            if os.path.lexists(staged):
                continue  # not given yet, or taken back: the file with this name is not this commit's
            if name.backup is None:
                # Renamed, not removed: a server may be looking, and half a SavedModel must not be seen.
                with suppress(FileNotFoundError):
                    os.rename(final, staged)
            elif os.path.lexists(backup := self._temporary / name.backup):  # else it is in its place already
                make_directories(final.parent)
                os.replace(backup, final)
        for parent in {(self._root / path).parent for path in document.names}:
            self._remove_empty(parent)

    def forget(self) -> None:
        """Remove the journal, on disk too."""
        if self.exists():
            self._path.unlink()
            sync(self._temporary)

    def _read(self) -> JournalDocument | None:
        try:
            return convert(read_json(self._path), JournalDocument, str(self._path))
        except FileNotFoundError:
            return None
        except ContentError as error:
            raise self._refusal(str(error).removeprefix(f"{self._path} ")) from error

    def _refusal(self, reason: str) -> StorageError:
        return StorageError(
            f"{self._path} is not a journal that this attnexport carries out ({reason}); nothing was changed. If an "
            f"export was killed here, let the attnexport that began it export once more, else remove {self._temporary}"
        )

    def _remove_empty(self, directory: Path) -> None:
        """Remove a directory if it is empty, and its parents if they become so; flush the first that stays."""
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
    """A second name for a file, or a copy if the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync(target)
