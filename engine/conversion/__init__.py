"""Weights under other projects' names: which projects are known, and how their tensors become ours."""

import compat  # noqa: F401  it must come before paddle

from engine.conversion.converter import SOURCES, Conversion, convert, to_official

__all__ = ["SOURCES", "Conversion", "convert", "to_official"]
