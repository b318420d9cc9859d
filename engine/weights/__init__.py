"""Published weights by name: fetched once, checked, converted and kept (pretrained/manifest.yml)."""

import compat  # noqa: F401  it must come before paddle

from engine.weights.manifest import Entry, find_entry, named_entry, read_manifest, recipe_of_weights, unknown_weights
from engine.weights.store import resolve_weights

__all__ = [
    "Entry",
    "find_entry",
    "named_entry",
    "read_manifest",
    "recipe_of_weights",
    "resolve_weights",
    "unknown_weights",
]
