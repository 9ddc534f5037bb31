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
