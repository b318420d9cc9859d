"""Recipes: what they may hold (schema, optimization), and how files and flags are read (reading, paddleseg)."""

from engine.recipe.reading import load_recipe, parse_value, scale_learning_rate
from engine.recipe.schema import Protocol, Recipe

__all__ = ["Protocol", "Recipe", "load_recipe", "parse_value", "scale_learning_rate"]
