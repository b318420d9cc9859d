"""Figures as files: what a benchmark writes, and what `python -m benchmarks.tables` makes tables of.

A file is one JSON object: the benchmark's own keys, and `measured`, which says where they come from. Files of
benchmarks/results are kept; any file that a benchmark wrote with `--json` may be put there.
"""

from pathlib import Path
from typing import Any, Mapping

from compat import write_json

from tool.speed.provenance import provenance


def write_figures(path: Path, figures: Mapping[str, Any]) -> None:
    """Write the figures of this process and where they were measured; raises UserError where `path` is not writable."""
    write_json(path, {**figures, "measured": provenance()})
