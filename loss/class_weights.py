"""Class weights from class frequencies."""

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from compat import UserError, unknown_name
from compat.options import NotNegative

import numpy as np
import paddle
from typing_extensions import Literal

ClassWeights = Union[Literal["auto", "median", "enet"], Sequence[NotNegative]]
"""A factor for each class [K], or the formula that computes them from the training set's histogram."""


def inverse_root_weights(frequency: np.ndarray) -> np.ndarray:
    """1 / sqrt(f) for class frequencies f [K], scaled so that the mean over the pixels is 1, as without weights."""
    root = np.sqrt(np.maximum(frequency, np.finfo(np.float64).tiny))
    return 1 / (root * np.where(frequency > 0, root, 0).sum())


def median_weights(frequency: np.ndarray) -> np.ndarray:
    """median(f) / f, the median over the classes that occur (SegNet, section 4.1, with frequencies over all images)."""
    known = frequency > 0
    return np.median(frequency[known]) / np.where(known, frequency, np.inf)


def enet_weights(frequency: np.ndarray) -> np.ndarray:
    """1 / ln(1.02 + f) (ENet, section 5.1), between 1.4 and 50.5."""
    return 1 / np.log(1.02 + frequency)


FORMULAS: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "auto": inverse_root_weights,
    "median": median_weights,
    "enet": enet_weights,
}


def class_weights(formula: str, pixels: np.ndarray) -> List[float]:
    """The weight of each class [K]; 0 for a class that does not occur.

    Args:
        formula: a name of FORMULAS.
        pixels: [K], how many pixels of each class the dataset holds.

    Raises:
        UserError: for an unknown formula, naming the nearest, and for a dataset of ignored pixels only.
    """
    if formula not in FORMULAS:
        raise unknown_name("class_weights: the formula", formula, FORMULAS)
    pixels = np.asarray(pixels, np.float64)
    if not pixels.any():
        raise UserError(
            f"class_weights: {formula}: no label of the training set holds a class, all pixels are ignored; see what "
            "they hold with: python -m tool.prepare_data check"
        )
    weights = FORMULAS[formula](pixels / pixels.sum())
    return np.where(pixels > 0, weights, 0.0).tolist()


def resolve_class_weights(
    objective: Mapping[str, Sequence[Any]], pixels: Callable[[], np.ndarray]
) -> Dict[str, Tuple[Any, ...]]:
    """A recipe's `loss` in which each formula for class weights is replaced by its numbers.

    Args:
        objective: {output: its terms, each of loss.criterion.TermOptions}.
        pixels: returns [K], how many pixels of each class the training set holds; called only if there is a formula.
    """

    def resolve(term):
        formula = getattr(term, "class_weights", None)
        if not isinstance(formula, str):
            return term
        return term.model_copy(update={"class_weights": tuple(class_weights(formula, pixels()))})

    return {output: tuple(map(resolve, terms)) for output, terms in objective.items()}


def weights_tensor(weights: Optional[ClassWeights]) -> Optional[paddle.Tensor]:
    """[K] float32, or None; raises ValueError for a formula, which `resolve_class_weights` must have replaced."""
    if isinstance(weights, str):
        raise ValueError(f"class_weights: {weights} is computed from a dataset's histogram; give numbers here")
    return None if weights is None else paddle.to_tensor(weights, dtype="float32")


def pixel_weights(labels: paddle.Tensor, weights: Optional[paddle.Tensor], ignore_index: int) -> paddle.Tensor:
    """[N, H, W] float32: the weight of each pixel's class, from weights [K] or else 1; 0 where the label is ignored."""
    counted = labels != ignore_index
    if weights is None:
        return counted.astype("float32")
    with paddle.no_grad():
        classes = paddle.where(counted, labels, paddle.zeros_like(labels))
        return weights.gather(classes.flatten()).reshape(labels.shape) * counted.astype("float32")
