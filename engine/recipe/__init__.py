"""Recipes: what they may hold (schema, optimization), and how they are read (reading, and paddleseg for its own)."""

from engine.recipe.reading import load_recipe, parse_value, scale_learning_rate
from engine.recipe.schema import Protocol, Recipe

__all__ = ["Protocol", "Recipe", "load_recipe", "parse_value", "scale_learning_rate"]
