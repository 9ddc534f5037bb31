"""The manifest: read back as written, and never misread."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnexport.core import ManifestError, Signature, StorageError, TensorSpec
from attnexport.store import Artifact, Manifest, VersionEntry
from attnexport.store.manifest import FILE_NAME, CheckRecord, ValidationRecord, read_manifest

SIGNATURE = Signature("s", (TensorSpec("x", "float32", (None, 3)),), (TensorSpec("y", "float32", None),))


DATA = {"name": "2 samples", "samples": 2, "content_hash": "sha256:1", "given": True}
CHECK = CheckRecord("session", "s", True, 41.5, 0.25, 1.0, None, None)
VALIDATION = ValidationRecord("2026-01-02T00:00:00+00:00", "0.1.0", "Keras", DATA, {"min_sqnr": 30.0}, (CHECK,))


def entry(version: int) -> VersionEntry:
    artifact = Artifact(
        "saved_model", f"saved_model/{version}", "sha256:0", 12, "float32", (SIGNATURE,), {"passed": True}
    )
    return VersionEntry(version, "2026-01-01T00:00:00+00:00", {"kind": "preset"}, {"keras": "3"}, "Keras", (artifact,))


def test_it_reads_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = Manifest("m").with_version(entry(2)).with_version(entry(1))
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert [each.version for each in manifest.versions] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_the_verdicts_of_validate_read_back_too(tmp_path: Path) -> None:
    old = entry(1)
    manifest = Manifest("m", (replace(old, artifacts=(replace(old.artifacts[0], validation=VALIDATION),)),))
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest


def test_a_manifest_from_before_there_were_verdicts_is_read(tmp_path: Path) -> None:
    Manifest("m", (entry(1),)).write(tmp_path)
    document = json.loads((tmp_path / FILE_NAME).read_text())
    del document["versions"][0]["artifacts"][0]["validation"]
    (tmp_path / FILE_NAME).write_text(json.dumps(document))
    assert read_manifest(tmp_path) == Manifest("m", (entry(1),))


def test_none_yet_is_no_error(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


def _without(key: str) -> Callable[[Any], None]:
    return lambda document: document.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.update(schema=99), "schema 99, and this attnexport reads schema 1"),
        (_without("schema"), "schema None"),
        (_without("versions"), "damaged"),
        (lambda document: document["versions"][0].update(version="1"), "version must be a whole number"),
        (lambda document: document["versions"][0].update(version=2**63), "version must be at most"),
        (lambda document: document["versions"][0].pop("source"), "VersionEntry lacks source"),
        (lambda document: document["versions"][0]["source"].update(imports=[3]), "imports of version 1 are no list of"),
        (lambda document: document["versions"][0].update(colour="red"), "holds colour"),
        (lambda document: document["versions"][0]["artifacts"].append(3), "damaged"),
        (lambda document: document["versions"][0]["artifacts"][0].update(validation={"checks": [3]}), "damaged"),
        (lambda document: document["versions"][0]["artifacts"][0].update(validation={"checks": []}), "lacks"),
        (lambda document: document["versions"][0]["artifacts"][0]["signatures"][0].update(inputs=[]), "has no input"),
    ],
)
def test_another_schema_and_damage_are_said(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    Manifest("m", (entry(1),)).write(tmp_path)
    document = json.loads((tmp_path / FILE_NAME).read_text())
    change(document)
    (tmp_path / FILE_NAME).write_text(json.dumps(document))
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_what_is_no_manifest_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ManifestError, match=FILE_NAME):
        read_manifest(tmp_path)


def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot read .*Not a directory"):
        read_manifest(tmp_path / "file")
