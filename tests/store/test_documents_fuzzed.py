"""Any bytes in the place of a document: read, or refused by one error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnexport.core import ContentError
from attnexport.store.manifest import FILE_NAME, read_manifest
from attnexport.tflite import load_recipe
from attnexport.tflite.search.result import read_candidates

pytestmark = pytest.mark.slow

OLD = Path(__file__).parent / "exports" / "0.1.0" / "small"
DOCUMENTS = {
    FILE_NAME: OLD / FILE_NAME,
    "recipe.json": OLD / "recipes" / "1" / "auto.json",
    "auto.search.json": OLD / "recipes" / "1" / "auto.search.json",
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def read(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)
    readers: dict[str, Any] = {FILE_NAME: lambda: read_manifest(folder), "recipe.json": lambda: load_recipe(path)}
    said = name
    try:
        readers.get(name, lambda: read_candidates(path))()
    except ContentError as error:
        said = str(error)
    assert name in said
    assert "\n" not in said


def replace_somewhere(document: Any, value: Any, steps: st.DataObject) -> Any:
    """The document with one value, at any depth, replaced."""
    if not isinstance(document, dict | list) or not document or steps.draw(st.integers(0, 4)) == 0:
        return value
    keys: list[Any] = sorted(document) if isinstance(document, dict) else list(range(len(document)))
    key = steps.draw(st.sampled_from(keys))
    changed = document.copy()
    changed[key] = replace_somewhere(document[key], value, steps)
    return changed


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(max_examples=350)
@given(content=st.binary(max_size=64) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(name: str, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    read(tmp_path_factory.mktemp("document"), name, content)


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(max_examples=350)
@given(value=VALUES, steps=st.data())
def test_any_value_in_any_place(
    name: str, value: Any, steps: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = replace_somewhere(json.loads(DOCUMENTS[name].read_text()), value, steps)
    read(tmp_path_factory.mktemp("document"), name, json.dumps(document).encode())
