"""Recipes: what they may hold (schema), and how they are read from files and the command line (reading)."""

from engine.recipe.reading import load_recipe, parse_value, scale_learning_rate
from engine.recipe.schema import Protocol, Recipe

__all__ = ["Protocol", "Recipe", "load_recipe", "parse_value", "scale_learning_rate"]
