"""Two networks on the same images: is the difference more than the choice of images?

The unit is the image. Under the null hypothesis it does not matter which network a result came from, so swapping the
two results of any images gives an equally likely pair of sums: a paired permutation test (Nichols and Holmes, 2002).
"""

from typing import Iterator, NamedTuple

from compat import UserError

import numpy as np

from engine.evaluation import metrics

CHUNK = 1000  # resamples in memory at a time


class Comparison(NamedTuple):
    """Scores of two networks, each array [1 + K] float64: the mean IoU, then the IoU of each class.

    Attributes:
        first, second: in [0, 1]; what `absent` says for a class that does not occur.
        difference: first - second.
        low, high: 95 % interval of the difference, by bootstrap over the images.
        p_value: of the two-sided permutation test; NaN where the difference is.
    """

    first: np.ndarray
    second: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray


def compare(
    first: np.ndarray, second: np.ndarray, absent: str = "zero", resamples: int = 9999, seed: int = 0
) -> Comparison:
    """Compare two networks by the confusion matrices of the same images.

    Args:
        first, second: [n, K, K] int64, one matrix for each image, in the same order.
        absent: what counts for a class that does not occur, see metrics.ABSENT.
        resamples: draws of the permutation test and of the bootstrap. When all 2^n swaps are no more than these, each
            is taken once, and the p-value is exact.
        seed: of the draws.

    Raises:
        UserError: for different numbers of images or classes, or no images.
    """
    if first.shape != second.shape or not len(first):
        raise UserError(
            f"cannot compare results of {len(first)} and {len(second)} images: they must be of the same ones"
        )
    ours, theirs = (metrics.areas(confusions).astype(np.float64) for confusions in (first, second))  # exact below 2^53
    one, other = _scores(ours.sum(0), absent), _scores(theirs.sum(0), absent)
    p_value = _p_value(ours, theirs, one - other, absent, resamples, seed)
    low, high = _interval(ours, theirs, absent, resamples, seed)
    return Comparison(one, other, one - other, low, high, p_value)


def _scores(areas: np.ndarray, absent: str) -> np.ndarray:
    """[..., 1 + K], mean IoU and IoUs, of areas [..., 3, K]."""
    iou = metrics.class_iou(areas, absent)
    return np.concatenate([metrics.mean_score(iou)[..., None], iou], axis=-1)


def _p_value(ours, theirs, difference: np.ndarray, absent: str, resamples: int, seed: int) -> np.ndarray:
    """[1 + K]: how often a swap of images [n, 3, K] gives as large a difference as was seen."""
    images = len(ours)
    exact = images < 63 and 2**images <= resamples
    reached, taken = np.zeros(difference.shape), 0
    for swapped in _all_swaps(images) if exact else _random_swaps(images, resamples, seed):
        moved = np.tensordot(swapped, theirs - ours, 1)
        swapped_difference = _scores(ours.sum(0) + moved, absent) - _scores(theirs.sum(0) - moved, absent)
        # The tolerance lets sums that are equal but for rounding count as equal.
        reached += (np.abs(swapped_difference) >= np.abs(difference) - 1e-12).sum(0)
        taken += len(swapped)
    # The pair as it was seen is one of the equally likely; among all swaps it is counted already.
    p_value = reached / taken if exact else (reached + 1) / (taken + 1)
    return np.where(np.isnan(difference), np.nan, p_value)


def _interval(ours, theirs, absent: str, resamples: int, seed: int) -> np.ndarray:
    """[2, 1 + K]: low and high end of the difference between images [n, 3, K]."""
    draws = [
        _scores(np.tensordot(often, ours, 1), absent) - _scores(np.tensordot(often, theirs, 1), absent)
        for often in _bootstrap(len(ours), resamples, seed)
    ]
    differences = np.concatenate(draws)
    known = ~np.isnan(differences).all(0)
    interval = np.full((2, differences.shape[1]), np.nan)
    interval[:, known] = np.nanquantile(differences[:, known], [0.025, 0.975], axis=0)
    return interval


def _all_swaps(images: int) -> Iterator[np.ndarray]:
    """Rows of 0 and 1 [m, n]: whether an image's results are swapped; each of the 2^n rows once."""
    for start in range(0, 2**images, CHUNK):
        numbers = np.arange(start, min(start + CHUNK, 2**images))
        yield ((numbers[:, None] >> np.arange(images)) & 1).astype(np.float64)


def _random_swaps(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng([seed, 0])
    for start in range(0, resamples, CHUNK):
        yield rng.integers(0, 2, (min(CHUNK, resamples - start), images)).astype(np.float64)


def _bootstrap(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Rows [m, n]: how often each image is drawn, n draws with replacement."""
    rng = np.random.default_rng([seed, 1])
    for start in range(0, resamples, CHUNK):
        yield rng.multinomial(images, np.full(images, 1 / images), min(CHUNK, resamples - start)).astype(np.float64)
