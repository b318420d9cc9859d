"""Two networks on the same images, as `tool.evaluate --compare` shows them."""

from textwrap import fill
from typing import Any, Dict, List, Mapping, NamedTuple, Union

from compat import UserError, text_table

import numpy as np
from paddle import nn

from data import SegmentationDataset
from engine.evaluation.comparison import Comparison, compare
from engine.evaluation.metrics import ABSENT_MEANING
from engine.evaluation.scorecard import Scorecard
from engine.recipe import Protocol, Recipe
from engine.runtime import Network
from tool.evaluation.report.content import Signed, Table
from tool.evaluation.report.gathered import Gathered
from tool.evaluation.score_table import NONE

LEVEL = 0.05


class Subject(NamedTuple):
    """A network to evaluate.

    path, config: where its weights and its recipe are.
    dataset: images to evaluate it on.
    model: a layer is evaluated as PaddleSeg does it, a Network as it is deployed.
    protocols: by name; comparisons and reports use the first.
    """

    path: str
    config: str
    recipe: Recipe
    dataset: SegmentationDataset
    model: Union[nn.Layer, Network]
    protocols: Mapping[str, Protocol]

    @property
    def way(self) -> str:
        """How it is scored, in words."""
        if isinstance(self.model, Network):
            return f"as deployed by {self.model.engine} in {self.model.precision}"
        return "as in PaddleSeg"


class Evaluated(NamedTuple):
    """A network's scores by protocol, and its results image by image under the first one."""

    subject: Subject
    cards: Mapping[str, Scorecard]
    gathered: Gathered

    @property
    def card(self) -> Scorecard:
        """Of the first protocol."""
        return next(iter(self.cards.values()))

    def describe(self) -> str:
        """The weights, the images, and how they were scored, in words."""
        subject = self.subject
        images = f"{len(subject.dataset)} images of {subject.recipe.val_dataset.dataset_root}"
        return f"{subject.path}: {images}, scored {subject.way}"


def check_same_images(first: Subject, second: Subject) -> None:
    """Raise UserError if two networks would be evaluated on different images or classes."""
    if first.dataset.classes != second.dataset.classes:
        raise UserError(
            f"{second.config}: its val_dataset has {second.dataset.num_classes} classes, that of {first.config} has "
            f"{first.dataset.num_classes}, or others; only networks of the same classes can be compared"
        )
    if first.dataset.file_list != second.dataset.file_list:
        raise UserError(
            f"{second.config}: its val_dataset holds other images than that of {first.config}; --dataset_root and "
            "--opts set them for both"
        )


def compare_networks(first: Evaluated, second: Evaluated) -> Comparison:
    """The paired test of the first protocols."""
    return compare(first.gathered.confusions, second.gathered.confusions, first.card.options.absent)


def significant(p_values: np.ndarray) -> np.ndarray:
    """Which classes differ significantly at 5 %, corrected for multiple tests by Holm's method.

    Args:
        p_values: [K], NaN for classes that were not tested.

    Returns:
        [K] bool.
    """
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    passed = p_values[order] <= LEVEL / np.arange(len(order), 0, -1)
    found = np.zeros(len(p_values), bool)
    found[order[: len(order) if passed.all() else int(np.argmin(passed))]] = True
    return found


def comparison_table(comparison: Comparison, card: Scorecard) -> Table:
    """A row for the mean IoU and one for each class of the scorecard."""
    marks = ["", *("*" if mark else "" for mark in significant(comparison.p_value[1:]))]
    rows = []
    for name, mark, a, b, d, low, high, p in zip(("mean IoU", *card.names), marks, *comparison):
        p_text = NONE if np.isnan(p) else f"{p:.4f}{mark}"
        rows.append((name.replace("_", " "), float(a), float(b), Signed(d), Signed(low), Signed(high), p_text))
    note = (
        "Difference is A - B in points, low and high are its 95 % bootstrap interval, and p is that of a paired "
        f"permutation test, both over the images; * is significant at {100 * LEVEL:.0f} % after Holm's correction. A "
        f"class that occurs neither in labels nor in predictions {ABSENT_MEANING[card.options.absent]}."
    )
    return Table("A against B", ("class", "A", "B", "difference", "low", "high", "p"), rows, note)


def comparison_rows(comparison: Comparison, card: Scorecard) -> List[Dict[str, Any]]:
    """The rows of `comparison_table` for JSON: `name` (`all` for the mean IoU) and Comparison's fields as fractions."""
    return [
        {"name": name, **dict(zip(comparison._fields, values))}
        for name, *values in zip(("all", *card.names), *comparison)
    ]


def table_text(table: Table) -> str:
    """The table for a terminal, scores in percent."""

    def cell(value) -> str:
        if isinstance(value, str):
            return value
        if np.isnan(value):
            return NONE
        return f"{100 * value:+.2f}" if isinstance(value, Signed) else f"{100 * value:.2f}"

    rows = [tuple(map(cell, row)) for row in table.rows]
    return f"{text_table(table.header, rows)}\n{fill(table.note, 100)}"
