"""Links, pipes and devices inside an export, which may come from somebody else: none may lead out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from attnexport.core.errors import StorageError
from attnexport.core.reading import check_filled


def check_links(root: Path, what: str = "the export") -> None:
    """Refuse a directory with a link that leads out of it, or with something that is not a file.

    Args:
        root: The directory of an export. It may itself be a link, and need not exist.
        what: What messages call it.

    Raises:
        StorageError: naming the link, pipe, device or socket.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     (Path(name) / "keras").symlink_to("/etc")
        ...     try:
        ...         check_links(Path(name))
        ...     except StorageError as error:
        ...         print(str(error).replace(name, "export/m"))
        export/m/keras is a link that leads out of the export, to /etc; put the file itself there, or remove the link
    """
    inside = os.path.realpath(root)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:  # of an export that is running, or that ended meanwhile
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                raise StorageError(f"{path} is neither a file nor a directory; remove it from {what}")
            if stat.S_ISLNK(mode):
                target = os.path.realpath(path)
                if os.path.commonpath([inside, target]) != inside:
                    raise StorageError(
                        f"{path} is a link that leads out of {what}, to {target}; put the file itself there, or "
                        "remove the link"
                    )


def has_link(root: Path, path: str) -> bool:
    """Whether a path below a directory is a link, or leads through one."""
    parts = path.split("/")
    return any((root / "/".join(parts[:end])).is_symlink() for end in range(1, len(parts) + 1))


def check_plain(root: Path, path: str) -> None:
    """Refuse an artifact that is not made of files and directories alone, before it is copied elsewhere.

    Args:
        root: The directory of the export.
        path: The artifact's path below it.

    Raises:
        StorageError: naming the link, pipe or device.
        ContentError: if a file is far larger than what it takes on disk.
    """
    if has_link(root, path):
        raise StorageError(f"{root / path} leads through a link, which is not followed; put the files themselves there")
    for each in (root / path).rglob("*"):
        if each.is_symlink() or not (each.is_file() or each.is_dir()):
            raise StorageError(f"{each} is a link or a special file, which is not copied; put the file itself there")
        if each.is_file():
            check_filled(each)
