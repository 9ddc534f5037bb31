"""What a manifest records of an artifact, and of its last validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from attnexport.core.errors import ArgumentError, check_size, one_of
from attnexport.core.limits import MAX_VERSION, PRECISIONS
from attnexport.core.signature import DTYPES, Signature, duplicates

from .files import hash_of

KINDS = ("keras", "saved_model", "tflite")  # of artifacts, and of the directories that hold them


def check_relative(path: str) -> str:
    """Check that a path is relative and stays below the directory that it is relative to.

    Raises:
        ArgumentError: if it is absolute, empty, has `..` in it, or is not in its shortest form.

    Example:
        >>> check_relative("saved_model/1")
        'saved_model/1'
        >>> check_relative("../elsewhere")
        Traceback (most recent call last):
        attnexport.core.errors.ArgumentError: path '../elsewhere' is not a relative path inside the export
    """
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts) or str(PurePosixPath(path)) != path:
        raise ArgumentError(f"path {path!r} is not a relative path inside the export")
    return path


@dataclass(frozen=True)
class CheckRecord:
    """The result of validate for one signature in one runtime: its worst figures on the data.

    Attributes:
        runtime: What ran it, such as `session`.
        signature: Its name.
        passed: Whether it is within its budget.
        sqnr_db: The least SQNR in dB; None if nothing was measured, or if nothing differs and `max_error` is 0.
        max_error: The greatest error, in the output's unit; None if nothing was measured.
        agreement: Share of samples with the original's top class, 0 to 1; None without classes.
        accuracy: Share of samples with the right class, 0 to 1; None without labels.
        problem: Why it failed, None if it passed.
        column_sqnr_db: The least SQNR of a column in dB; None if none was judged, or nothing differs.
        column: The column, such as `column 3`; None if none was judged.
    """

    runtime: str
    signature: str
    passed: bool
    sqnr_db: float | None
    max_error: float | None
    agreement: float | None
    accuracy: float | None
    problem: str | None
    column_sqnr_db: float | None = None
    column: str | None = None


@dataclass(frozen=True)
class ValidationRecord:
    """The last result of `attnexport validate` for an artifact.

    Attributes:
        created: When, in UTC, ISO 8601.
        attnexport: The version of attnexport.
        reference: What the artifact was compared with.
        data: The samples: their `name`, number (`samples`), `content_hash`, and whether the user gave them (`given`).
        limits: The limits that the user set, by name.
        checks: The results.
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

    Attributes:
        kind: `keras`, `saved_model` or `tflite`.
        path: Relative to the export directory.
        content_hash: Hash of variables and signatures; for a .tflite, of its bytes.
        size_bytes: Size of all its files, in bytes.
        precision: A row of parity's table of budgets.
        signatures: What it computes.
        parity: The verdict of the gate, as JSON.
        file_hash: Hash of its bytes as they were written, which shows later changes.
        recipe: The recipe of a .tflite, as JSON.
        calibration: The samples that the recipe needed: their hash and number, whether the user gave them (`given`),
            and how ranges were found.
        validation: The last result of validate. An artifact that replaces this one begins without.

    Raises:
        ArgumentError: if the kind, the precision or a dtype is unknown, or the path leads out of the export.
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

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ArgumentError(f"kind {self.kind!r} is not {one_of(KINDS)}")
        if self.precision not in PRECISIONS:
            raise ArgumentError(f"precision {self.precision!r} is not {one_of(PRECISIONS)}")
        check_relative(self.path)
        check_size("size_bytes", self.size_bytes, least=0, most=MAX_VERSION)
        if repeated := duplicates(each.name for each in self.signatures):
            raise ArgumentError(f"{self.path} has two signatures {repeated[0]!r}")
        for spec in (spec for each in self.signatures for spec in (*each.inputs, *each.outputs)):
            if spec.dtype not in DTYPES:
                raise ArgumentError(f"tensor {spec.name!r} of {self.path} has dtype {spec.dtype!r}; {one_of(DTYPES)}")

    @property
    def title(self) -> str:
        """Its name for people: the recipe of a .tflite, else its kind."""
        if self.recipe and "name" in self.recipe:
            return str(self.recipe["name"])
        return {"saved_model": "SavedModel", "keras": "Keras"}.get(self.kind, Path(self.path).stem)

    @property
    def calibrated_on_given(self) -> bool:
        """Whether the user gave its calibration samples, so that synthetic samples say nothing about its errors."""
        return bool(self.calibration and self.calibration.get("given"))

    @property
    def min_sqnr_db(self) -> float | None:
        """The SQNR in dB that its recipe must reach, None if the budget of its precision applies."""
        least = (self.recipe or {}).get("min_sqnr_db")
        return float(least) if isinstance(least, int | float) else None

    def change(self, export: Path) -> str | None:
        """How its files differ from what was exported: "gone", "changed", or None."""
        path = export / self.path
        if not path.exists():
            return "gone"
        return "changed" if self.file_hash is not None and hash_of(path) != self.file_hash else None
