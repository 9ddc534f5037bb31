"""The directory of a deployment: written as a whole, and replaced only if nobody else wrote into it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TypedDict

from attnexport.core import ContentError, GateError, StorageError
from attnexport.core.documents import check, read_json
from attnexport.core.os_errors import writing
from attnexport.docker import Deployment
from attnexport.docker.bom import bill_of_materials
from attnexport.store import Artifact
from attnexport.store.files import hash_of, replacing_directory
from attnexport.store.links import check_plain

BOM = "bom.cdx.json"
_RECORD = "deploy.json"
_SCHEMA = 1
_PROGRAMS = (".sh",)


class _Record(TypedDict):
    schema: int
    files: dict[str, str]


def check_output(path: Path, *, force: bool) -> None:
    """Refuse a directory that holds files an earlier deploy did not write.

    Raises:
        StorageError: naming such a file. With `force`, only if there is no record of an earlier deploy.
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        recorded = _recorded(path)
        if recorded is None:
            raise StorageError(f"{path} was not written by deploy and is not empty; give another --output")
        if force:
            return
        current = _files(path)
        changed = [name for name in sorted(recorded.keys() | current.keys()) if recorded.get(name) != current.get(name)]
        if changed:
            raise StorageError(
                f"{path}/{changed[0]} was changed since deploy wrote it; give another --output, or --force to lose "
                "the changes"
            )


def write_deployment(
    output: Path, texts: dict[str, str], plan: Deployment, root: Path, saved_model: Artifact
) -> list[str]:
    """Write the files and the model.

    Returns:
        Paths of the files, below `output`.

    Raises:
        GateError: if the model was changed since it was exported.
        StorageError: if the model holds a link or a special file, or the file system refuses.
    """
    check_plain(root, saved_model.path)
    source = root / saved_model.path
    with writing(output), replacing_directory(output) as temporary:
        model = temporary / "models" / plan.name / str(plan.version)
        if source.is_dir():
            shutil.copytree(source, model, copy_function=shutil.copyfile)
        if not source.is_dir() or (saved_model.file_hash is not None and hash_of(model) != saved_model.file_hash):
            raise GateError(f"{source} is not what was exported: it was changed or removed since; export it again")
        for name, text in texts.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_text(text, encoding="utf-8")
        bom = bill_of_materials(plan, {name: each for name, each in _files(temporary).items() if _is_in_image(name)})
        (temporary / BOM).write_text(bom, encoding="utf-8")
        record = {"schema": _SCHEMA, "name": plan.name, "version": plan.version, "target": plan.target}
        (temporary / _RECORD).write_text(
            json.dumps({**record, "files": _files(temporary)}, indent=2) + "\n", encoding="utf-8"
        )
        # The server in the image runs as another user.
        for path in (temporary, *temporary.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.suffix in _PROGRAMS else 0o644)
    return sorted([*texts, BOM, _RECORD, f"models/{plan.name}/{plan.version}/"])


def _recorded(path: Path) -> dict[str, str] | None:
    """The hashes recorded by an earlier deploy; None if there is no record."""
    try:
        document = check(read_json(path / _RECORD), _Record, str(path / _RECORD))
        return document["files"] if document["schema"] == _SCHEMA else None
    except (OSError, ContentError):
        return None


def _is_in_image(name: str) -> bool:
    """Whether the Dockerfile copies a file."""
    return name.startswith(("config/", "models/")) or name == "health.sh"


def _files(path: Path) -> dict[str, str]:
    files = (each for each in path.rglob("*") if each.is_file() and each != path / _RECORD)
    return {each.relative_to(path).as_posix(): hash_of(each) for each in files}
