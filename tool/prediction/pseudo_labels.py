"""Pseudo-labels: label files predicted by a network, for self-training (Lee, Pseudo-Label, 2013)."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

import numpy as np

from data.classes import IGNORED
from engine.evaluation.pictures import write_class_map
from tool.prediction.results import Predicted
from tool.prediction.sources import Picture

FOLDER, LIST = "pseudo_labels", "pseudo_labels.txt"


class Labelled(NamedTuple):
    """An image, its label file, and the share of its pixels that have a class."""

    image: Path
    label: Path
    known: float

    @property
    def line(self) -> str:
        """The line of a list file, separated by a tab so that names may contain spaces."""
        return f"{self.image.resolve()}\t{self.label.resolve()}"


class PseudoLabelWriter:
    """Writes class maps as label files of training ids, 255 where the confidence is low, to save_dir/pseudo_labels/.

    Args:
        save_dir: folder of the results.
        pictures: to be predicted; the labels get their names.
        palette: [256, 3] uint8, for viewers.
    """

    def __init__(self, save_dir: Path, pictures: Sequence[Picture], palette: np.ndarray):
        self.save_dir, self.palette = save_dir, palette
        self.kinds = (FOLDER,)
        self.files = {picture.name: picture.file for picture in pictures}
        self._written: Dict[str, Labelled] = {}

    def write(self, predicted: Predicted) -> None:
        """Raises UserError where a file cannot be written."""
        name = predicted.frame.name
        label = self.save_dir / FOLDER / f"{name}.png"
        write_class_map(label, predicted.prediction, self.palette)
        known = float((predicted.prediction != IGNORED).mean())
        self._written[name] = Labelled(self.files[name], label, known)

    def labelled(self) -> List[Labelled]:
        """The labels written, in the order of the pictures, without those in which no pixel has a class."""
        found = (self._written[name] for name in self.files if name in self._written)
        return [one for one in found if one.known > 0]
