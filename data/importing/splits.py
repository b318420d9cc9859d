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
    """{"train": names, "val": names}: whole sequences, drawn by `seed`, until `val_share` of the images are reached.

    A single sequence is cut in two: its last images, in the order of their names, are for validation.

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
    for index in np.random.default_rng(seed).permutation(len(keys)):
        sequence = sequences[keys[index]]
        # The first sequence is taken however long it is; a further one where it brings the share nearer.
        if not val or abs(len(val) + len(sequence) - wanted) < abs(len(val) - wanted):
            val += sequence
    if len(val) == len(names):
        val = min(sequences.values(), key=len)
    held = set(val)
    return {"train": [name for name in sorted(names) if name not in held], "val": sorted(val)}


def _natural(name: str) -> List:
    """A key by which frame_10 comes after frame_9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
