"""The manifest, attnexport.json: what was exported from what, with which result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from attnexport.core.documents import build
from attnexport.core.errors import ArgumentError, ManifestError, StorageError, check_size, first_line
from attnexport.core.limits import MAX_VERSION
from attnexport.core.signature import Signature

from .files import hash_of, write_atomically

FILE_NAME = "attnexport.json"
SCHEMA = 1


@dataclass(frozen=True)
class CheckRecord:
    """What validate found of one signature in one runtime: its worst figures on the data, None where there are none.

    `sqnr_db` is None, too, where nothing differs and `max_error` is 0; `problem` says why it failed.
    """

    runtime: str
    signature: str
    passed: bool
    sqnr_db: float | None
    max_error: float | None
    agreement: float | None
    accuracy: float | None
    problem: str | None


@dataclass(frozen=True)
class ValidationRecord:
    """What `attnexport validate` found last of an artifact.

    `created` is UTC, ISO 8601; `attnexport` its version; `reference` what it was held against; `data` the samples: what
    they are called (`name`), how many (`samples`), their `content_hash`, and whether they were `given` or made up;
    `limits` those that the user set.
    """

    created: str
    attnexport: str
    reference: str
    data: Mapping[str, Any]
    limits: Mapping[str, float]
    checks: tuple[CheckRecord, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Artifact:
    """One artifact of a version.

    `path` is relative to the export directory; `content_hash` is of variables and signatures, or of bytes for a
    .tflite; `precision` is a row of parity's table of budgets; `parity` is the verdict that let it in; `file_hash` is
    of its bytes as they were written, so that a later change shows. A .tflite also has the `recipe` that it was made
    by, and where that needed samples, `calibration`: their hash and number, whether they were `given` or made up, and
    how ranges were found. Another artifact at the same path begins without a `validation`.
    """

    kind: str
    path: str
    content_hash: str
    size_bytes: int
    precision: str
    signatures: tuple[Signature, ...]
    parity: Mapping[str, Any] | None = None
    file_hash: str | None = None
    recipe: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    validation: ValidationRecord | None = None

    @property
    def title(self) -> str:
        """What people call it: the recipe of a .tflite, else what it is."""
        if self.recipe and "name" in self.recipe:
            return str(self.recipe["name"])
        return {"saved_model": "SavedModel", "keras": "Keras"}.get(self.kind, Path(self.path).stem)

    @property
    def calibrated_on_given(self) -> bool:
        """Whether it is made for samples that somebody gave, so that made-up ones say nothing of it."""
        return bool(self.calibration and self.calibration.get("given"))

    @property
    def min_sqnr_db(self) -> float | None:
        """The SQNR in dB that its recipe is held to in place of its precision's budget, where it says one."""
        least = (self.recipe or {}).get("min_sqnr_db")
        return float(least) if isinstance(least, int | float) else None

    def change(self, export: Path) -> str | None:
        """What happened to the file since: "gone", "changed", or None."""
        path = export / self.path
        if not path.exists():
            return "gone"
        return "changed" if self.file_hash is not None and hash_of(path) != self.file_hash else None


@dataclass(frozen=True)
class VersionEntry:
    """One version: its origin, the versions of everything that made it, and its artifacts.

    `reference` names what parity was measured against; `created` is UTC, ISO 8601; `names` maps an exported tensor
    name to the Keras name, where they differ.
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
        if not isinstance(modules, list | tuple) or not all(isinstance(each, str) for each in modules):
            raise ArgumentError(f"imports of version {self.version} are no list of modules")

    @property
    def imports(self) -> tuple[str, ...]:
        """The modules that register the layers of its original."""
        return tuple(self.source.get("imports", ()))

    def artifact(self, kind: str) -> Artifact | None:
        """The version's artifact of a kind, None where it has none."""
        return next((each for each in self.artifacts if each.kind == kind), None)

    def artifact_at(self, path: str) -> Artifact | None:
        """The version's artifact at a path, None where there is none."""
        return next((each for each in self.artifacts if each.path == path), None)

    def with_artifacts(self, artifacts: Sequence[Artifact]) -> VersionEntry:
        """The entry with more artifacts; one at the same path takes the place of the old one."""
        by_path = {each.path: each for each in (*self.artifacts, *artifacts)}
        return replace(self, artifacts=tuple(by_path.values()))


@dataclass(frozen=True)
class Manifest:
    """All versions of one export directory, oldest first."""

    name: str
    versions: tuple[VersionEntry, ...] = ()

    def entry(self, version: int) -> VersionEntry:
        """The entry of a version.

        Raises:
            ArgumentError: naming the versions there are.
        """
        found = next((each for each in self.versions if each.version == version), None)
        if found is None:
            there = ", ".join(str(each.version) for each in self.versions) or "none"
            raise ArgumentError(f"{self.name} has no version {version}; there is {there}")
        return found

    def with_version(self, entry: VersionEntry) -> Manifest:
        """A manifest with one version more, or with that version's entry replaced."""
        others = [old for old in self.versions if old.version != entry.version]
        return replace(self, versions=tuple(sorted([*others, entry], key=lambda each: each.version)))

    def write(self, directory: Path) -> None:
        """Rename a new attnexport.json over the old one; the caller holds the directory's lock."""
        document = {"schema": SCHEMA, **asdict(self)}
        write_atomically(directory / FILE_NAME, json.dumps(document, indent=2, allow_nan=False) + "\n")


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of an export directory, or None where there is none yet.

    Raises:
        ManifestError: where it is damaged, or of a schema that this version does not read.
        StorageError: where it cannot be read.
    """
    path = directory / FILE_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            f"{path} is damaged ({first_line(error)}); move it away to start a new manifest, nothing else is lost"
        ) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ManifestError(
            f"{path} has schema {schema!r}, and this attnexport reads schema {SCHEMA}; "
            "use the attnexport that wrote it, or move the file away"
        )
    try:
        return _manifest({key: value for key, value in document.items() if key != "schema"})
    except (KeyError, TypeError, ValueError, AttributeError, ArgumentError) as error:
        raise ManifestError(f"{path} is damaged: {first_line(error)}") from error


def _manifest(document: dict[str, Any]) -> Manifest:
    versions = tuple(
        build(VersionEntry, entry, artifacts=tuple(_artifact(each) for each in entry["artifacts"]))
        for entry in document["versions"]
    )
    return build(Manifest, document, versions=versions)


def _artifact(document: dict[str, Any]) -> Artifact:
    signatures = tuple(map(Signature.from_json, document["signatures"]))
    found = document.get("validation")
    checks = tuple(build(CheckRecord, check) for check in found["checks"]) if found else ()
    validation = build(ValidationRecord, found, checks=checks) if found else None
    return build(Artifact, document, signatures=signatures, validation=validation)
