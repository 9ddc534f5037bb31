"""Recipes as JSON files: an object with the attributes of Recipe, where only `weights` is required."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from attnexport.core.documents import convert, read_json
from attnexport.core.errors import ArgumentError, ContentError, no_such

from .recipe import LayerRule, Recipe


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from a JSON file.

    Args:
        path: The file. A recipe without a name is called after it.

    Raises:
        ArgumentError: if the file does not exist.
        ContentError: if it is not a recipe, naming the field and what is expected there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     file = Path(name) / "mine.json"
        ...     _ = file.write_text('{"weights": "int8", "activations": "int8", "keep_float": ["SOFTMAX"]}')
        ...     recipe = load_recipe(file)
        >>> recipe.name, recipe.weights, recipe.keep_float
        ('mine', 'int8', ('SOFTMAX',))
    """
    try:
        document = read_json(path)
    except FileNotFoundError as error:
        raise ArgumentError(f"recipe {path} does not exist") from error
    return recipe_from(f"recipe {path}", document, name=path.stem)


def recipe_from(where: str, document: Any, name: str = "recipe") -> Recipe:
    """Make a recipe from the values of its JSON.

    Args:
        where: What messages call it.
        document: An object with the attributes of Recipe.
        name: Its name if the object has none.

    Raises:
        ContentError: if it is not a recipe, naming the field and what is expected there.
    """
    if not isinstance(document, dict) or "weights" not in document:
        raise ContentError(f'{where} must be an object such as {{"weights": "int8", "activations": "int8"}}')
    layers = document.get("layers")
    _check_keys(where, document, Recipe)
    for each in layers if isinstance(layers, list) else ():
        _check_keys(where, each, LayerRule)
    return convert({"name": name, **document}, Recipe, where)


def recipe_text(recipe: Recipe) -> str:
    """Write a recipe as the JSON that `load_recipe` reads.

    Args:
        recipe: The recipe. Attributes with their default value are left out.

    Returns:
        The text of the file.

    Example:
        >>> print(recipe_text(Recipe("mine", weights="float16")), end="")
        {
          "name": "mine",
          "weights": "float16"
        }
    """
    plain = {each.name: each.default for each in fields(Recipe)}
    document = {key: value for key, value in asdict(recipe).items() if value != plain[key]}
    return json.dumps(document, indent=2) + "\n"


def _check_keys(where: str, document: Any, kind: type[Recipe] | type[LayerRule]) -> None:
    """Refuse unknown keys with the one that was probably meant."""
    known = [each.name for each in fields(kind)]
    for key in document if isinstance(document, dict) else ():
        if key not in known:
            raise ContentError(f"{where}: {no_such('key', key, known)}")
