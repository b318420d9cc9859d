"""Splits images into training and validation so that neighbouring frames stay together."""

import re
from typing import Dict, List, Sequence

from compat import UserError

import numpy as np

FRAME_NUMBER = re.compile(r"[-_. ]?\d+$")


def sequence_of(name: str) -> str:
    """The sequence of a frame: its name without the number at its end; `name` has `/` between folders."""
    return FRAME_NUMBER.sub("", name)


def split_names(names: Sequence[str], val_share: float, seed: int) -> Dict[str, List[str]]:
    """{"train": names, "val": names}: whole sequences, drawn by `seed`, as long as they bring `val_share` nearer.

    A single sequence is cut in two: its last images, in the order of their names, are for validation. Where every
    sequence is too long, the shortest is for validation.

    Raises:
        UserError: for fewer than two images.
    """
    if len(names) < 2:
        raise UserError(f"{len(names)} image: a dataset needs at least one to train and one to validate")
    wanted = min(max(1, round(val_share * len(names))), len(names) - 1)
    sequences: Dict[str, List[str]] = {}
    for name in sorted(names):
        sequences.setdefault(sequence_of(name), []).append(name)
    if len(sequences) == 1:
        ordered = sorted(names, key=_natural)
        return {"train": ordered[:-wanted], "val": ordered[-wanted:]}
    keys = sorted(sequences)
    val: List[str] = []
    order = [sequences[keys[index]] for index in np.random.default_rng(seed).permutation(len(keys))]
    for sequence in order:
        if abs(len(val) + len(sequence) - wanted) < abs(len(val) - wanted):
            val += sequence
    if len(val) in (0, len(names)):
        val = min(order, key=len)
    held = set(val)
    return {"train": [name for name in sorted(names) if name not in held], "val": sorted(val)}


def _natural(name: str) -> List:
    """A key by which frame_10 comes after frame_9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
