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
    "OBJECTIVES",
    "POOLINGS",
    "PRESETS",
    "RECIPES",
    "Pooling",
    "Preset",
    "PresetConfig",
    "check_source",
]

RECIPES: tuple[str, ...] = tuple(_RECIPES)
PRESETS: tuple[str, ...] = get_args(Preset)
POOLINGS: tuple[str, ...] = get_args(Pooling)
