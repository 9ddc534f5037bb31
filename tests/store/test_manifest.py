"""The manifest: read back as written, and never misread."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
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


Change = Callable[[Any], object]


def version(**values: Any) -> Change:
    return lambda document: document["versions"][0].update(values)


def artifact(**values: Any) -> Change:
    return lambda document: document["versions"][0]["artifacts"][0].update(values)


def tensor(**values: Any) -> Change:
    return lambda document: document["versions"][0]["artifacts"][0]["signatures"][0]["inputs"][0].update(values)


def validation(**values: Any) -> Change:
    return artifact(validation={**json.loads(json.dumps(asdict(VALIDATION))), **values})


def drop(*path: Any) -> Change:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


def damaged(tmp_path: Path, change: Change) -> str:
    """What is said of a manifest after a change."""
    Manifest("m", (entry(1),)).write(tmp_path)
    document = json.loads((tmp_path / FILE_NAME).read_text())
    change(document)
    (tmp_path / FILE_NAME).write_text(json.dumps(document))
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path)
    return str(caught.value)


FIRST = "versions[0].artifacts[0]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.update(schema=99), "schema 99, and this attnexport reads schema 1"),
        (lambda document: document.update(schema=True), "schema True"),
        (drop("schema"), "schema None"),
        (drop("versions"), "the field 'versions' is missing"),
        (lambda document: document.update(versions={}), "at versions: a list is expected; received an object"),
        (lambda document: document.update(name=None), "at name: a string is expected; received null"),
        (version(version="1"), "at versions[0].version: a whole number is expected; received a string"),
        (version(version=True), "at versions[0].version: a whole number is expected; received true or false"),
        (version(version=2**63), "at versions[0]: version must be at most"),
        (version(version=0), "at versions[0]: version must be a whole number of at least 1"),
        (version(created=3), "at versions[0].created: a string is expected; received a whole number"),
        (drop("versions", 0, "source"), "at versions[0]: the field 'source' is missing"),
        (version(source={"imports": [3]}), "at versions[0]: imports of version 1 must be a list of module names"),
        (version(source={"imports": "layers"}), "imports of version 1 must be a list of module names"),
        (version(source={"imports": ["a/b"]}), "imports of version 1 must be a list of module names"),
        (version(source={"declared_inputs": [{"name": "x"}]}), "at versions[0].source.declared_inputs[0]: the field"),
        (
            version(source={"declared_inputs": [{"name": "x", "dtype": "float99", "shape": None}]}),
            "at versions[0].source.declared_inputs: 'float99' is not the name of a dtype",
        ),
        (
            version(source={"declared_inputs": [{"name": "x", "dtype": "int8", "shape": None}] * 2}),
            "at versions[0].source.declared_inputs: 'x' is listed twice",
        ),
        (version(source={"labels": "cats"}), "at versions[0].source.labels: a list or null is expected"),
        (version(source={"labels": ["cat", 3]}), "at versions[0].source.labels[1]: a string is expected"),
        (version(source={"kind": 3}), "at versions[0].source.kind: a string is expected"),
        (version(names=[]), "at versions[0].names: an object is expected; received a list"),
        (version(names={"a": 3}), "at versions[0].names[...]: a string is expected"),
        (version(environment={"tensorflow": 2.21}), "at versions[0].environment[...]: a string is expected"),
        (version(colour="red"), "at versions[0]: it holds 'colour', which this attnexport does not know"),
        (
            lambda document: document["versions"].append(document["versions"][0]),
            "version 1 is listed twice",
        ),
        (lambda document: document["versions"][0]["artifacts"].append(3), "artifacts[1]: an object is expected"),
        (
            lambda document: document["versions"][0]["artifacts"].append(document["versions"][0]["artifacts"][0]),
            "at versions[0]: version 1 lists saved_model/1 twice",
        ),
        (artifact(size_bytes="big"), f"at {FIRST}.size_bytes: a whole number is expected; received a string"),
        (artifact(size_bytes=12.0), f"at {FIRST}.size_bytes: a whole number is expected; received a number"),
        (artifact(size_bytes=-1), f"at {FIRST}: size_bytes must be a whole number of at least 0"),
        (artifact(size_bytes=10**30), f"at {FIRST}: size_bytes must be at most"),
        (artifact(recipe=[1]), f"at {FIRST}.recipe: an object or null is expected; received a list"),
        (artifact(recipe={"name": 3}), f"at {FIRST}.recipe.name: a string is expected"),
        (artifact(recipe={"min_sqnr_db": "x"}), f"at {FIRST}.recipe.min_sqnr_db: a number or null is expected"),
        (artifact(parity="x"), f"at {FIRST}.parity: an object or null is expected; received a string"),
        (artifact(calibration={"given": "yes"}), f"at {FIRST}.calibration.given: true or false is expected"),
        (artifact(precision="int9"), f"at {FIRST}: precision 'int9' is not 'float32', 'float16'"),
        (artifact(kind="onnx"), f"at {FIRST}: kind 'onnx' is not 'keras', 'saved_model' or 'tflite'"),
        (artifact(colour="red"), f"at {FIRST}: it holds 'colour'"),
        (artifact(validation={"checks": [3]}), f"at {FIRST}.validation.checks[0]: an object is expected"),
        (artifact(validation={"checks": []}), f"at {FIRST}.validation: the field 'created' is missing"),
        (validation(data={"samples": "2"}), f"at {FIRST}.validation.data.samples: a whole number is expected"),
        (validation(limits={"min_sqnr": "30"}), f"at {FIRST}.validation.limits[...]: a number is expected"),
        (drop("versions", 0, "artifacts", 0, "signatures"), f"at {FIRST}: the field 'signatures' is missing"),
        (
            lambda document: document["versions"][0]["artifacts"][0]["signatures"][0].update(inputs=[]),
            f"at {FIRST}.signatures[0]: signature 's' has no input",
        ),
        (
            lambda document: document["versions"][0]["artifacts"][0]["signatures"][0].update(method="guess"),
            f"at {FIRST}.signatures[0].method: 'predict', 'classify' or 'regress' is expected; received 'guess'",
        ),
        (tensor(shape=[None, "3"]), ".inputs[0].shape[1]: a whole number or null is expected; received a string"),
        (tensor(shape=[-1]), ".inputs[0]: tensor 'x' has shape [-1]"),
        (tensor(dtype="int9"), "tensor 'x' of saved_model/1 has dtype 'int9'"),
    ],
)
def test_each_field_that_is_wrong_is_named(tmp_path: Path, change: Change, message: str) -> None:
    said = damaged(tmp_path, change)
    assert FILE_NAME in said
    assert message in said


@pytest.mark.parametrize("path", ["/etc", "../m", "tflite/../../m", ".", "", "a//b", "./a", "a/", "a\0b"])
def test_paths_lead_nowhere_but_into_the_export(tmp_path: Path, path: str) -> None:
    assert f"at {FIRST}: path {path!r} is not a relative path inside the export" in damaged(
        tmp_path, artifact(path=path)
    )


def test_versions_in_any_order_are_read_in_theirs(tmp_path: Path) -> None:
    Manifest("m", (entry(2), entry(1))).write(tmp_path)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert [each.version for each in manifest.versions] == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"[]", "has schema None"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"null", "has schema None"),
        (b'{"schema": 1, "name": NaN}', "NaN is not a value in JSON"),
        (b'{"schema": 1, "name": "\\ud800"}', "is not valid JSON"),
        (b'{"schema":' * 100_000, "nested too deeply"),
        (b'{"schema": 1, "versions": ' + b"[" * 300 + b"]" * 300 + b"}", "nested too deeply|is expected"),
    ],
)
def test_what_is_not_a_manifest_is_an_error_that_names_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(tmp_path)
    assert FILE_NAME in str(caught.value)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    Manifest("m", (entry(1),)).write(tmp_path)
    content = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(b"\xef\xbb\xbf" + content)
    assert read_manifest(tmp_path) == Manifest("m", (entry(1),))


def test_devices_pipes_directories_and_huge_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    for make, message in (
        (lambda: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda: os.mkfifo(path), "not a regular file"),
        (path.mkdir, "is a directory"),
    ):
        make()
        with pytest.raises(ManifestError, match=message):
            read_manifest(tmp_path)
        path.rmdir() if path.is_dir() else path.unlink()
    path.touch()
    os.truncate(path, 1 << 40)  # of holes
    with pytest.raises(ManifestError, match="is larger than the 16,777,216 bytes"):
        read_manifest(tmp_path)


def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot read .*Not a directory"):
        read_manifest(tmp_path / "file")


@pytest.mark.parametrize("path", ["keras/1.keras", "saved_model/2", "saved_model/10", ".lock", FILE_NAME, "x"])
def test_an_artifact_lies_where_those_of_its_kind_and_version_do(tmp_path: Path, path: str) -> None:
    [artifact] = entry(1).artifacts
    Manifest("m", (replace(entry(1), artifacts=(replace(artifact, path=path),)),)).write(tmp_path)
    with pytest.raises(ManifestError, match="is not that of a saved_model of version 1"):
        read_manifest(tmp_path)
