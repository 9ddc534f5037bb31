"""Modules that an export names run only if this installation exported it with them, or the user says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from attnexport.core import ModelError
from attnexport.store.files import hash_of
from attnexport.store.trust import VARIABLE, check_modules, remember_modules, trusting


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module of layers, a package, and an original."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "layers_to_trust.py").write_text("raise SystemExit('ran')")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text("raise SystemExit('ran')")
    (tmp_path / "my_package" / "layers.py").write_text("raise SystemExit('ran')")
    (tmp_path / "1.keras").write_text("original")
    return tmp_path


NAMES = ("layers_to_trust", "my_package.layers")


def test_an_export_from_elsewhere_is_refused_with_what_would_be_run(here: Path) -> None:
    with pytest.raises(ModelError) as caught:
        check_modules(NAMES, here / "1.keras")
    said = str(caught.value)
    assert f"would run layers_to_trust ({here / 'layers_to_trust.py'}), my_package.layers (" in said
    assert "imports=['layers_to_trust', 'my_package.layers'] if you trust them, or trust=True" in said
    assert not {"layers_to_trust", "my_package"} & sys.modules.keys()


def test_one_that_was_written_here_just_works(here: Path) -> None:
    remember_modules(NAMES, hash_of(here / "1.keras"))
    check_modules(NAMES, here / "1.keras")


@pytest.mark.parametrize(
    "change",
    ["layers_to_trust.py", "my_package/__init__.py", "my_package/layers.py", "1.keras"],
)
def test_a_file_that_changed_since_is_refused(here: Path, change: str) -> None:
    remember_modules(NAMES, hash_of(here / "1.keras"))
    (here / change).write_text("print('other')")
    with pytest.raises(ModelError, match="was not exported here with these modules"):
        check_modules(NAMES, here / "1.keras")


def test_a_module_that_resolves_elsewhere_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember_modules(NAMES, hash_of(here / "1.keras"))
    (here / "other").mkdir()
    (here / "other" / "layers_to_trust.py").write_text("raise SystemExit('ran')")  # the same bytes
    monkeypatch.setattr(sys, "path", [str(here / "other"), *sys.path])
    with pytest.raises(ModelError, match=r"other/layers_to_trust\.py"):
        check_modules(NAMES, here / "1.keras")


def test_other_modules_of_a_known_original_are_refused(here: Path) -> None:
    remember_modules(["layers_to_trust"], hash_of(here / "1.keras"))
    with pytest.raises(ModelError, match=r"would run my_package\.layers"):
        check_modules(NAMES, here / "1.keras")


def test_modules_that_are_named_or_imported_or_trusted_are_allowed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_modules(NAMES, here / "1.keras", allowed=NAMES)
    check_modules(["json"], here / "1.keras")
    with trusting(False), pytest.raises(ModelError):
        check_modules(NAMES, here / "1.keras")
    with trusting(), trusting(False):
        check_modules(NAMES, here / "1.keras")
    monkeypatch.setenv(VARIABLE, "1")
    check_modules(NAMES, here / "1.keras")


def test_a_missing_module_and_a_missing_original_are_refused(here: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere_to_be \(not found\)"):
        check_modules(["nowhere_to_be"], here / "2.keras")


def test_without_a_state_directory_nothing_is_remembered_and_nothing_fails(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "file"))
    remember_modules(NAMES, hash_of(here / "1.keras"))
    with pytest.raises(ModelError):
        check_modules(NAMES, here / "1.keras")


def test_a_damaged_record_trusts_nothing_and_is_replaced(here: Path) -> None:
    path = here / "state" / "attnexport" / "trust.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(ModelError):
        check_modules(NAMES, here / "1.keras")
    remember_modules(NAMES, hash_of(here / "1.keras"))
    check_modules(NAMES, here / "1.keras")
