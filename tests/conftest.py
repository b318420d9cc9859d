"""Importing compat first puts zlib and the thread count in place before any test imports paddle."""

import compat  # noqa: F401
