"""The documented JSON schema of the manifest, and its reader: both accept and refuse the same documents."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from attnexport.core import ManifestError
from attnexport.store.manifest import FILE_NAME, read_manifest

pytestmark = pytest.mark.slow

DIGEST = f"sha256:{'0' * 64}"
TENSOR = {"name": "x", "dtype": "float32", "shape": [None, 3]}
CHECK = {"runtime": "r", "signature": "s", "passed": True, "sqnr_db": 41.5, "max_error": 0.25}
DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "name": "m",
    "versions": [
        {
            "version": 1,
            "created": "2026-01-01T00:00:00+00:00",
            "source": {"kind": "preset", "units": 8, "imports": ["a.b"], "labels": ["cat", "dog"]},
            "environment": {"keras": "3"},
            "reference": "Keras",
            "names": {"x": "keras_tensor"},
            "artifacts": [
                {
                    "kind": "tflite",
                    "path": "tflite/1/m.int8.tflite",
                    "content_hash": DIGEST,
                    "size_bytes": 12,
                    "precision": "int8",
                    "signatures": [
                        {
                            "name": "s",
                            "inputs": [TENSOR],
                            "outputs": [{**TENSOR, "name": "y", "shape": None}],
                            "method": "predict",
                        }
                    ],
                    "parity": {"passed": True},
                    "file_hash": DIGEST,
                    "recipe": {"name": "int8", "weights": "int8", "min_sqnr_db": 12.0},
                    "calibration": {"content_hash": DIGEST, "samples": 2, "calibrator": "minmax", "given": True},
                    "validation": {
                        "created": "2026-01-02",
                        "attnexport": "0.2.0",
                        "reference": "Keras",
                        "data": {"name": "2 samples", "samples": 2, "content_hash": DIGEST, "given": True},
                        "limits": {"min_sqnr": 30.0},
                        "checks": [{**CHECK, "agreement": 1.0, "accuracy": None, "problem": None}],
                    },
                }
            ],
        }
    ],
}
VALUES = (None, True, 3, -3, 0.5, "text", "", [], [3], {}, {"unknown": 3}, {"name": 3})
# Details that are always written, and that nothing goes wrong without; hashes are only compared.
LENIENT = ("source", "kind", "method", "calibration", "samples", "calibrator", "data", "given", "name")
LENIENT += ("content_hash", "file_hash")


@pytest.fixture(scope="module")
def validator(root: Path) -> Any:
    return jsonschema.Draft202012Validator(json.loads((root / "docs/schemas/manifest.schema.json").read_text()))


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).resolve().parents[2]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every value below."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from paths(inner, (*path, key))


def holder(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def changes() -> Iterator[tuple[Any, str, Any]]:
    """The document with each value replaced by each of VALUES, with each field missing, and with unknown ones."""
    for path in paths(DOCUMENT):
        for value in VALUES:
            changed = copy.deepcopy(DOCUMENT)
            holder(changed, path)[path[-1]] = value
            yield path[-1], f"{path} = {value!r}", changed
        changed = copy.deepcopy(DOCUMENT)
        del holder(changed, path)[path[-1]]
        yield path[-1], f"no {path}", changed
        changed = copy.deepcopy(DOCUMENT)
        if isinstance(inner := holder(changed, path)[path[-1]], dict):
            inner["unknown"] = 3
            yield path[-1], f"unknown in {path}", changed


def reads(directory: Path, document: Any) -> bool:
    (directory / FILE_NAME).write_text(json.dumps(document))
    try:
        manifest = read_manifest(directory)
    except ManifestError:
        return False
    assert manifest is not None
    json.dumps(asdict(manifest))
    return True


def test_schema_and_reader_agree_on_every_field(validator: Any, tmp_path: Path) -> None:
    assert reads(tmp_path, DOCUMENT)
    assert validator.is_valid(DOCUMENT)
    wrong = []
    for name, what, document in changes():
        read, valid = reads(tmp_path, document), validator.is_valid(document)
        lenient = read and name in LENIENT
        related = valid and name in ("version", "path")  # an artifact's path is of its kind and version
        if read != valid and not lenient and not related:
            wrong.append(what)
    assert not wrong, "\n".join(wrong)
