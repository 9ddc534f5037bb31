"""Quantization schemes as data."""

from .files import load_recipe, recipe_text
from .recipe import LayerRule, Recipe
from .table import RECIPES

__all__ = ["RECIPES", "LayerRule", "Recipe", "load_recipe", "recipe_text"]
