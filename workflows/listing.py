"""`list`: the exports below a directory, or the models of a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, ContentError
from attnexport.core.printable import printable
from attnexport.core.progress import Progress, silent

from .connection import Connection
from .result import Block, Line, Result, Table

if TYPE_CHECKING:
    from attnexport.serving import VersionStatus
    from attnexport.store import VersionEntry

_DEPTH = 2  # directories between the given one and an export


@dataclass(frozen=True)
class ListedExport:
    """An export.

    Attributes:
        path: Its directory.
        versions: The numbers of its versions, oldest first.
        created: When the newest was made, UTC; empty without versions.
        artifacts: What the newest holds: SavedModel and recipes.
        validation: "passed", "FAILED" or empty: what validate found last of its artifacts.
        problem: Why the export cannot be read; empty if it can.
    """

    path: Path
    versions: tuple[int, ...] = ()
    created: str = ""
    artifacts: tuple[str, ...] = ()
    validation: str = ""
    problem: str = ""


@dataclass(frozen=True)
class ListResult(Result):
    """The exports below a directory.

    Attributes:
        directory: Where they were looked for.
        exports: The exports, by path.
    """

    directory: Path
    exports: tuple[ListedExport, ...]

    def to_dict(self) -> dict[str, Any]:
        exports = [{**asdict(each), "path": str(each.path)} for each in self.exports]
        return {"directory": str(self.directory), "exports": exports}

    def blocks(self) -> Sequence[Block]:
        if not self.exports:
            return [
                f"There are no exports in {self.directory} or two directories below.",
                "\nTry:",
                Line("  attnexport savedmodel model.keras"),
            ]
        rows = [
            (
                printable(str(each.path)),  # a name of a directory may have a line break
                ", ".join(map(str, each.versions)),
                printable(each.created[:16].replace("T", " ")),
                printable(", ".join(each.artifacts) or each.problem),
                each.validation,
            )
            for each in self.exports
        ]
        return [Table(("export", "versions", "newest (UTC)", "holds", "validated"), rows)]


@dataclass(frozen=True)
class ModelListResult(Result):
    """The models of a server.

    Attributes:
        server: Its address.
        models: The versions of each model, the newest first.
    """

    server: str
    models: Mapping[str, Sequence[VersionStatus]]

    def to_dict(self) -> dict[str, Any]:
        models = {name: [asdict(each) for each in versions] for name, versions in self.models.items()}
        return {"server": self.server, "models": models}

    def blocks(self) -> Sequence[Block]:
        if not self.models:
            return [f"{self.server} serves no models."]
        rows = [
            (name if not number else "", str(each.version), each.state)
            for name, versions in self.models.items()
            for number, each in enumerate(versions)
        ]
        rows += [(name, "", "no versions yet") for name, versions in self.models.items() if not versions]
        return [Table(("model", "version", "state"), rows)]


def list_exports(directory: str | Path = ".", *, progress: Progress = silent) -> ListResult:
    """List the exports in a directory and two levels below, each with its versions and what the newest holds.

    Args:
        directory: Where to look.
        progress: Called with what is being done.

    Raises:
        ArgumentError: if the directory does not exist.

    Example:
        >>> import attnexport as ax
        >>> model = ax.build_model(steps=4, features=8, units=16, classes=3)
        >>> _ = ax.export_saved_model(model, name="small")
        >>> print(list_exports())
        export        versions  newest (UTC)      holds
        export/small  1         ...  SavedModel
    """
    root = Path(directory)
    if not root.is_dir():
        raise ArgumentError(f"{root} is not a directory")
    progress(f"looking below {root}")
    from attnexport.store.kinds import is_export

    found = []
    level = [root]
    for depth in range(_DEPTH + 1):
        found += [each for each in level if is_export(each)]
        if depth < _DEPTH:
            level = [below for each in level if not is_export(each) for below in _directories(each)]
    return ListResult(root, tuple(_export(each) for each in sorted(found)))


def list_models(connection: Connection, *, progress: Progress = silent) -> ModelListResult:
    """List the models of an embedded server. TensorFlow Serving has no call for that.

    Args:
        connection: The server; its model is ignored.
        progress: Called with what is being done.

    Raises:
        ServingError: if the server is unreachable, or cannot list its models.

    Example:
        >>> from attnexport.core.errors import UnavailableError
        >>> try:
        ...     list_models(Connection("", "127.0.0.1:1", timeout=0.5))
        ... except UnavailableError as error:
        ...     print(error.address)
        127.0.0.1:1
    """
    progress(f"querying {connection.first_server}")
    with connection.client(needs_model=False) as client:
        return ModelListResult(connection.first_server, client.list_models())


def _directories(directory: Path) -> list[Path]:
    try:
        return [each for each in directory.iterdir() if each.is_dir() and not each.name.startswith(".")]
    except OSError:
        return []


def _export(path: Path) -> ListedExport:
    from attnexport.store import ExportDirectory

    try:
        versions = ExportDirectory(path).manifest().versions
    except ContentError as error:
        return ListedExport(path, problem=str(error))
    if not versions:
        return ListedExport(path)
    newest = versions[-1]
    titles = tuple(each.title for each in newest.artifacts if each.kind != "keras")
    return ListedExport(path, tuple(each.version for each in versions), newest.created, titles, _validation(newest))


def _validation(entry: VersionEntry) -> str:
    records = [each.validation for each in entry.artifacts if each.validation is not None]
    return "" if not records else "passed" if all(each.passed for each in records) else "FAILED"
