"""Quantization schemes as data."""

from .recipe import Recipe, load_recipe
from .table import RECIPES

__all__ = ["RECIPES", "Recipe", "load_recipe"]
