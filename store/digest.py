"""One digest of all files of a version, in the form that `sha256sum --check` reads.

A line a file, as coreutils writes it, with paths relative to the export; comments say what else was hashed: the
version's entry in the manifest, without what later validations record there. in-toto's statements and model-signing
hold the same list; they need their own packages and keys to be read, and this file can be signed by any tool.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from attnexport.core.errors import ContentError, GateError
from attnexport.core.printable import printable
from attnexport.core.reading import read_bytes

from .files import hash_of
from .manifest import FILE_NAME, VersionEntry

PREFIX = "sha256:"
MAX_BYTES = 4 << 20  # of a digest's file
_HEADER = "# attnexport digest 1"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def version_digest(root: Path, entry: VersionEntry) -> str:
    """The text of a version's digest.

    Args:
        root: The export directory.
        entry: The version.

    Example:
        >>> entry = VersionEntry(1, "2026-01-01T00:00:00+00:00", {"kind": "preset"}, {}, "Keras", ())
        >>> print(version_digest(Path("export/m"), entry).splitlines()[0])
        # attnexport digest 1
    """
    lines = [_HEADER, f"# {FILE_NAME} version {entry.version}: {_entry_hash(entry)}"]
    lines += [f"{digest}  {path}" for path, digest in sorted(_files(root, entry))]
    return "\n".join(lines) + "\n"


def short_digest(text: str) -> str:
    """`sha256:...` of a digest's text: one line that stands for the whole version."""
    return PREFIX + hashlib.sha256(text.encode()).hexdigest()


def check_digest(root: Path, entry: VersionEntry, given: str | Path) -> None:
    """Refuse a version that is not what a digest says.

    Args:
        root: The export directory.
        entry: The version.
        given: A digest's file, or its `sha256:...`.

    Raises:
        ContentError: The file is not a digest, or cannot be read.
        GateError: Names what was changed, added or removed.
    """
    found = version_digest(root, entry)
    if str(given).startswith(PREFIX):
        if short_digest(found) != str(given).lower():
            raise GateError(f"version {entry.version} of {root} has digest {short_digest(found)}; {given} is expected")
        return
    wanted = _read(Path(given))
    if wanted == found:
        return
    before, after = (dict(_entries(text)) for text in (wanted, found))
    changes = [f"{path} changed" for path in sorted(before.keys() & after.keys()) if before[path] != after[path]]
    changes += [f"{path} gone" for path in sorted(before.keys() - after.keys())]
    changes += [f"{path} added" for path in sorted(after.keys() - before.keys())]
    if wanted.splitlines()[1:2] != found.splitlines()[1:2]:
        changes.append(f"its entry in {FILE_NAME} changed")
    raise GateError(f"version {entry.version} of {root} is not that of {given}: {', '.join(changes) or 'other text'}")


def _read(path: Path) -> str:
    try:
        text = read_bytes(path, MAX_BYTES).decode()
    except OSError as error:
        raise ContentError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ContentError(f"{path} is not a digest: it is not text") from error
    if not text.startswith(_HEADER + "\n"):
        raise ContentError(f"{path} is not a digest: it does not begin with {_HEADER!r}")
    return text


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            yield match[2], match[1]


def _files(root: Path, entry: VersionEntry) -> Iterator[tuple[str, str]]:
    """Every file of the version's artifacts, with its hash.

    Raises:
        ContentError: if a name cannot stand in a line.
    """
    for artifact in entry.artifacts:
        path = root / artifact.path
        files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
        for each in files:
            if each.is_file():
                name = each.relative_to(root).as_posix()
                if printable(name) != name:  # a line break would make two files of one
                    raise ContentError(f"a digest cannot list {each}: its name is not printable text; rename the file")
                yield name, hash_of(each).removeprefix(PREFIX)


def _entry_hash(entry: VersionEntry) -> str:
    document = asdict(entry)
    for artifact in document["artifacts"]:
        del artifact["validation"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return PREFIX + hashlib.sha256(text.encode()).hexdigest()
