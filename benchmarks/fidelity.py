"""How far our networks, losses and training are from the original ones, in numbers that these computed.

Each reference file describes random weights and inputs by their seeds, and holds what the original answered. The
weights go through the converter of `python -m tool.convert`, our network answers, and the largest absolute difference
over the largest absolute reference value must be within the limit. See benchmarks/reference.py for the files' form.
"""

import json
import sys
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence

from compat import UserError

import paddle

from benchmarks.compare_losses import LOSS_LIMIT, compare_losses
from benchmarks.compare_network import NETWORK_LIMIT, compare_network
from benchmarks.compare_training import compare_training
from engine.command import parser, run

REFERENCES = Path(__file__).parents[1] / "tests" / "reference"


class Row(NamedTuple):
    """One compared value: `error` is relative, `limit` the largest that is allowed."""

    file: str
    output: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the error is a number within the limit."""
        return self.error <= self.limit


def compare(path: Path) -> List[Row]:
    """Compare one reference file of any kind.

    Raises:
        UserError: for a file that is none, or whose weights the converter refuses.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable reference file ({error})") from error
    try:
        if isinstance(content, list):
            results = compare_losses(content)
        elif "rows" in content:
            results = compare_training(content, path.parent)
        else:
            results = compare_network(content, path.with_suffix(".npz"))
    except (KeyError, TypeError, OSError) as error:
        raise UserError(f"{path}: not in the form that benchmarks/reference.py describes ({error!r})") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return [Row(path.stem, *result) for result in results]
