"""Labels that a network gives to images without any (self-training; Lee, Pseudo-Label, 2013)."""

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
        """Of a list file; between tabs names may hold spaces."""
        return f"{self.image.resolve()}\t{self.label.resolve()}"


class PseudoLabelWriter:
    """Writes class maps as label files of training ids, 255 where the network is not sure: save_dir/pseudo_labels/.

    Args:
        save_dir: of the results.
        pictures: that will be predicted; the labels have their names.
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
        """What was written, in the order of the pictures; images of which nothing is known are left out."""
        found = (self._written[name] for name in self.files if name in self._written)
        return [one for one in found if one.known > 0]
