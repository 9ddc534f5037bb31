"""One digest of a version: coreutils reads it, and it names whatever was changed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from attnexport.core.errors import ContentError, GateError
from attnexport.store import Artifact, VersionEntry
from attnexport.store.digest import check_digest, short_digest, version_digest
from attnexport.store.manifest import CheckRecord, ValidationRecord


def artifact(kind: str, path: str) -> Artifact:
    return Artifact(kind, path, "sha256:0", 1, "float32", ())


ENTRY = VersionEntry(
    1,
    "2026-01-01T00:00:00+00:00",
    {"kind": "preset"},
    {},
    "Keras",
    (artifact("keras", "keras/1.keras"), artifact("saved_model", "saved_model/1")),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "m"
    for name, text in (
        ("keras/1.keras", "a"),
        ("saved_model/1/saved_model.pb", "b"),
        ("saved_model/1/variables/v", "c"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def file(root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "m.sha256"
    path.write_text(version_digest(root, ENTRY))
    return path


def test_the_same_version_passes_by_its_file_and_by_its_hash(root: Path, file: Path) -> None:
    check_digest(root, ENTRY, file)
    check_digest(root, ENTRY, short_digest(file.read_text()))
    check = CheckRecord("session", "s", True, None, 0.0, None, None, None)
    record = ValidationRecord("2026-01-02", "0.2.0", "Keras", {}, {}, (check,))
    validated = replace(ENTRY, artifacts=tuple(replace(each, validation=record) for each in ENTRY.artifacts))
    check_digest(root, validated, file)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils is not installed")
def test_coreutils_reads_it(root: Path, file: Path) -> None:
    words = ["sha256sum", "--check", "--strict", str(file)]
    assert subprocess.run(words, cwd=root, check=False, capture_output=True).returncode == 0
    (root / "keras" / "1.keras").write_text("other")
    assert b"keras/1.keras: FAILED" in subprocess.run(words, cwd=root, check=False, capture_output=True).stdout


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: (root / "keras/1.keras").write_text("x"), "keras/1.keras changed"),
        (lambda root: (root / "saved_model/1/variables/v").unlink(), "saved_model/1/variables/v gone"),
        (lambda root: (root / "saved_model/1/w").write_text("x"), "saved_model/1/w added"),
    ],
)
def test_a_changed_file_is_named(root: Path, file: Path, change: Callable[[Path], object], told: str) -> None:
    short = short_digest(file.read_text())
    change(root)
    with pytest.raises(GateError, match=told):
        check_digest(root, ENTRY, file)
    with pytest.raises(GateError, match=f"{short} is expected"):
        check_digest(root, ENTRY, short)


def test_a_changed_manifest_is_named(root: Path, file: Path) -> None:
    looser = replace(ENTRY, artifacts=(ENTRY.artifacts[0], replace(ENTRY.artifacts[1], precision="int4")))
    with pytest.raises(GateError, match="its entry in attnexport"):
        check_digest(root, looser, file)


@pytest.mark.parametrize(("content", "told"), [(b"", "does not begin with"), (b"\xff\xfe", "is not text")])
def test_what_is_not_a_digest_is_refused(root: Path, tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(ContentError, match=told):
        check_digest(root, ENTRY, tmp_path / "other")
