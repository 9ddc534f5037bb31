"""Recipes as JSON files: an object with the attributes of Recipe, what is not said being its default."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from attnexport.core.errors import ArgumentError, ContentError, first_line, no_such

from .recipe import LayerRule, Recipe


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from JSON.

    Raises:
        ArgumentError: where the file does not exist, or a value is not one that there is.
        ContentError: where it is no such JSON.
    """
    where = f"recipe {path}"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArgumentError(f"{where} does not exist") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ContentError(f"{where} is not readable JSON: {first_line(error)}") from error
    return recipe_from(where, document, name=path.stem)


def recipe_from(where: str, document: Any, name: str = "recipe") -> Recipe:
    """A recipe from the values of its JSON.

    Args:
        where: What to call it in messages.
        document: An object with the attributes of Recipe.
        name: Its name where it has none.

    Raises:
        ArgumentError: where a value is not one that there is.
        ContentError: where it is something else.
    """
    if not isinstance(document, dict) or "weights" not in document:
        raise ContentError(f'{where} must be an object such as {{"weights": "int8", "activations": "int8"}}')
    _check_keys(where, document, Recipe)
    given: dict[str, Any] = {"name": name, **document}
    for key in ("keep_float", "weight_algorithms"):
        if key in document:
            if not isinstance(document[key], list) or not all(isinstance(each, str) for each in document[key]):
                raise ContentError(f"{where}: {key} must be a list of texts; received {document[key]!r}")
            given[key] = tuple(document[key])
    if not isinstance(document.get("integer_only", False), bool):
        raise ContentError(f"{where}: integer_only must be true or false")
    given["layers"] = _layers(where, document.get("layers", []))
    return Recipe(**given)


def recipe_text(recipe: Recipe) -> str:
    """A recipe as the JSON that `load_recipe` reads."""
    plain = {each.name: each.default for each in fields(Recipe)}
    document = {key: value for key, value in asdict(recipe).items() if value != plain[key]}
    return json.dumps(document, indent=2) + "\n"


def _layers(where: str, document: Any) -> tuple[LayerRule, ...]:
    if not isinstance(document, list) or not all(isinstance(each, dict) for each in document):
        raise ContentError(f'{where}: layers must be a list of objects such as {{"tensors": "x", "weights": "int4"}}')
    for each in document:
        _check_keys(where, each, LayerRule)
        if not {"tensors", "weights"} <= each.keys() or not all(isinstance(text, str) for text in each.values()):
            raise ContentError(f"{where}: layers need texts for tensors and weights; received {each!r}")
    return tuple(LayerRule(**each) for each in document)


def _check_keys(where: str, document: dict[str, Any], kind: type[Recipe] | type[LayerRule]) -> None:
    known = [each.name for each in fields(kind)]
    for key in document:
        if key not in known:
            raise ContentError(f"{where}: {no_such('key', str(key), known)}")
