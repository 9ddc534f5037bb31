"""The names that workflows accept, for help texts and completion: light to import.

Example:
    >>> from attnexport.workflows.choices import PRESETS, RECIPES
    >>> RECIPES
    ('float32', 'float16', 'dynamic', 'int8', 'int16x8', 'int4')
    >>> PRESETS
    ('classifier', 'multihead-classifier', 'attention', 'multihead')
"""

from typing import get_args

from attnexport.exporter.models.presets import DEFAULT_PRESET, Pooling, Preset, PresetConfig
from attnexport.exporter.models.sources import check_source
from attnexport.tflite.recipes import RECIPES as _RECIPES
from attnexport.tflite.recipes.recipe import CALIBRATORS, IO_TYPES
from attnexport.tflite.search.goal import DEFAULT_TRIALS, OBJECTIVES
from attnexport.tflite.search.goal import SEARCHED as AUTO

__all__ = [
    "AUTO",
    "CALIBRATORS",
    "DEFAULT_PRESET",
    "DEFAULT_TRIALS",
    "IO_TYPES",
    "LANGUAGES",
    "OBJECTIVES",
    "POOLINGS",
    "PRESETS",
    "RECIPES",
    "Pooling",
    "Preset",
    "PresetConfig",
    "check_source",
    "recipe_name",
]

RECIPES: tuple[str, ...] = tuple(_RECIPES)
LANGUAGES = ("python", "javascript", "kotlin", "swift", "c")  # of `inspect --snippet`
PRESETS: tuple[str, ...] = get_args(Preset)
POOLINGS: tuple[str, ...] = get_args(Pooling)
_RECIPE_ALIASES = {"fp32": "float32", "f32": "float32", "fp16": "float16", "f16": "float16", "16x8": "int16x8"}


def recipe_name(text: str) -> str:
    """The name of a recipe in the spelling that is used here; other text, such as a path, as it is.

    Example:
        >>> recipe_name("INT8"), recipe_name("fp16"), recipe_name("mine.json")
        ('int8', 'float16', 'mine.json')
    """
    small = text.lower()
    name = _RECIPE_ALIASES.get(small, small)
    return name if name in (*RECIPES, AUTO) else text
