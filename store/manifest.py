"""The manifest, attnexport.json: what was exported from what, with which result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from attnexport.core.documents import check, convert, read_json
from attnexport.core.errors import ArgumentError, ManifestError, check_size
from attnexport.core.limits import MAX_VERSION
from attnexport.core.signature import DTYPES, TensorSpec, duplicates

from .files import write_atomically
from .records import Artifact, CheckRecord, ValidationRecord

__all__ = [
    "Artifact",
    "CheckRecord",
    "Manifest",
    "ValidationRecord",
    "VersionEntry",
    "read_manifest",
]

FILE_NAME = "attnexport.json"
SCHEMA = 1

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def _is_module(name: Any) -> bool:
    return isinstance(name, str) and _MODULE.fullmatch(name) is not None


@dataclass(frozen=True)
class VersionEntry:
    """One version of a model.

    Attributes:
        version: Its number, from 1.
        created: When, in UTC, ISO 8601.
        source: Where the model came from: its `kind`, details of that kind, and the modules to import (`imports`).
        environment: The versions of Python and of the packages that made it.
        reference: What parity was measured against.
        artifacts: Its artifacts.
        names: The Keras name by exported tensor name, if they differ.

    Raises:
        ArgumentError: if the version is not a positive int64, or an artifact is listed twice.
    """

    version: int
    created: str
    source: Mapping[str, Any]
    environment: Mapping[str, str]
    reference: str
    artifacts: tuple[Artifact, ...]
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_size("version", self.version, most=MAX_VERSION)
        modules = self.source.get("imports", ())
        if not isinstance(modules, list | tuple) or not all(map(_is_module, modules)):
            raise ArgumentError(f"imports of version {self.version} must be a list of module names")
        if repeated := duplicates(each.path for each in self.artifacts):
            raise ArgumentError(f"version {self.version} lists {repeated[0]} twice")

    @property
    def imports(self) -> tuple[str, ...]:
        """The modules that register the layers of its original."""
        return tuple(self.source.get("imports", ()))

    @property
    def declared_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that its user declared, if its original does not know them itself."""
        declared = self.source.get("declared_inputs", ())
        if isinstance(declared, bool):  # as it was written for versions that keep no .keras
            return ()
        return check(declared, tuple[TensorSpec, ...], "declared_inputs", ManifestError)

    def artifact(self, kind: str) -> Artifact | None:
        """The version's artifact of a kind, None if it has none."""
        return next((each for each in self.artifacts if each.kind == kind), None)

    def artifact_at(self, path: str) -> Artifact | None:
        """The version's artifact at a path, None if it has none."""
        return next((each for each in self.artifacts if each.path == path), None)

    def with_artifacts(self, artifacts: Sequence[Artifact]) -> VersionEntry:
        """The entry with more artifacts, which replace those at the same paths."""
        by_path = {each.path: each for each in (*self.artifacts, *artifacts)}
        return replace(self, artifacts=tuple(by_path.values()))


@dataclass(frozen=True)
class Manifest:
    """All versions of one export directory, oldest first."""

    name: str
    versions: tuple[VersionEntry, ...] = ()

    def __post_init__(self) -> None:
        if repeated := duplicates(str(each.version) for each in self.versions):
            raise ArgumentError(f"version {repeated[0]} is listed twice")

    def entry(self, version: int) -> VersionEntry:
        """The entry of a version.

        Raises:
            ArgumentError: naming the existing versions.
        """
        entry = next((each for each in self.versions if each.version == version), None)
        if entry is None:
            existing = ", ".join(str(each.version) for each in self.versions) or "none"
            raise ArgumentError(f"{self.name} has no version {version}; there is {existing}")
        return entry

    def with_version(self, entry: VersionEntry) -> Manifest:
        """The manifest with a version added, or replaced if it exists."""
        others = [old for old in self.versions if old.version != entry.version]
        return replace(self, versions=tuple(sorted([*others, entry], key=lambda each: each.version)))

    def write(self, directory: Path) -> None:
        """Replace attnexport.json; the caller holds the directory's lock."""
        document = {"schema": SCHEMA, **asdict(self)}
        write_atomically(directory / FILE_NAME, json.dumps(document, indent=2, allow_nan=False) + "\n")


def read_manifest(directory: Path) -> Manifest | None:
    """Read the manifest of an export directory.

    Args:
        directory: The export directory.

    Returns:
        The manifest with its versions in ascending order, or None if there is none yet.

    Raises:
        ManifestError: if it is not valid, naming the field, or of a schema that this version does not read.
        StorageError: if it cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     Manifest("classifier").write(Path(name))
        ...     read_manifest(Path(name))
        Manifest(name='classifier', versions=())
    """
    path = directory / FILE_NAME
    try:
        document = read_json(path, ManifestError)
    except FileNotFoundError:
        return None
    except ManifestError as error:
        raise ManifestError(f"{error}; move it away to start a new manifest, nothing else is lost") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA or isinstance(schema, bool):
        raise ManifestError(
            f"{path} has schema {schema!r}, and this attnexport reads schema {SCHEMA}; "
            "use the attnexport that wrote it, or move the file away"
        )
    if "versions" not in document:
        raise ManifestError(f"{path} is not valid: the field 'versions' is missing")
    values = {key: value for key, value in document.items() if key != "schema"}
    manifest = convert(values, Manifest, str(path), ManifestError)
    _check_details(manifest, str(path))
    return replace(manifest, versions=tuple(sorted(manifest.versions, key=lambda each: each.version)))


class _Source(TypedDict, total=False):
    kind: str
    imports: list[str]
    labels: list[str] | None
    declared_inputs: list[TensorSpec] | bool


class _RecipeDetails(TypedDict, total=False):
    name: str
    min_sqnr_db: float | None


class _SamplesDetails(TypedDict, total=False):
    name: str
    samples: int
    content_hash: str
    calibrator: str
    given: bool


def _check_declared(declared: list[TensorSpec] | bool, problem: str) -> None:
    specs = [] if isinstance(declared, bool) else declared
    if unknown := [each.dtype for each in specs if each.dtype not in DTYPES]:
        raise ManifestError(f"{problem}: {unknown[0]!r} is not the name of a dtype")
    if repeated := duplicates(each.name for each in specs):
        raise ManifestError(f"{problem}: {repeated[0]!r} is listed twice")


def _check_details(manifest: Manifest, where: str) -> None:
    """Check what is used of the mappings that may hold anything else as well."""
    for number, entry in enumerate(manifest.versions):
        at = f"versions[{number}]"
        source = check(entry.source, _Source, where, ManifestError, at=f"{at}.source")
        _check_declared(source.get("declared_inputs", False), f"{where} is not valid at {at}.source.declared_inputs")
        for position, artifact in enumerate(entry.artifacts):
            inside = f"{at}.artifacts[{position}]"
            if not re.match(rf"{artifact.kind}/{entry.version}(?![^./])", artifact.path):
                raise ManifestError(
                    f"{where} is not valid at {inside}: path {artifact.path!r} is not that of a {artifact.kind} of "
                    f"version {entry.version}, {artifact.kind}/{entry.version}…"
                )
            check(artifact.recipe or {}, _RecipeDetails, where, ManifestError, at=f"{inside}.recipe")
            check(artifact.calibration or {}, _SamplesDetails, where, ManifestError, at=f"{inside}.calibration")
            if artifact.validation is not None:
                data = artifact.validation.data
                check(data, _SamplesDetails, where, ManifestError, at=f"{inside}.validation.data")
