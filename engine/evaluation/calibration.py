"""Is a confidence of 0.9 right nine times out of ten? Expected calibration error, and the temperature that lowers it.

C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On Calibration of Modern Neural Networks, ICML 2017. The temperature is
fitted on the pixels of every other image, and its effect measured on those of the images between.
"""

from typing import NamedTuple, Tuple

from compat import UserError

import numpy as np
from tqdm import tqdm

from data import SegmentationDataset
from engine.runtime import Network, Segmenter
from engine.runtime.segmenter import restore

BINS = 15
PIXELS = 4096  # sampled from an image
RANGE = (0.05, 20.0)  # of temperatures


class Calibration(NamedTuple):
    """Errors are in [0, 1], likelihoods in nats a pixel; `before` is at temperature 1."""

    temperature: float
    error_before: float
    error_after: float
    likelihood_before: float
    likelihood_after: float
    images: int

    def __str__(self) -> str:
        return (
            f"temperature {self.temperature:.3f}: expected calibration error {100 * self.error_before:.2f} % -> "
            f"{100 * self.error_after:.2f} %, negative log-likelihood {self.likelihood_before:.4f} -> "
            f"{self.likelihood_after:.4f}; {self.images} images, fitted on half of them, measured on the others"
        )


def calibrate(network: Network, dataset: SegmentationDataset, scale: float, progress: bool = False) -> Calibration:
    """Fit the temperature of a network on a dataset with labels.

    Args:
        network: one that gives logits.
        dataset: at least two images.
        scale: of images, see engine.runtime.Segmenter.
        progress: whether to show a bar.

    Raises:
        UserError: for a network without logits, fewer than two images, or a half without a labelled pixel.
    """
    if len(dataset) < 2:
        raise UserError(
            "--calibrate: needs two images or more, one half to fit on and one to measure; the dataset has "
            f"{len(dataset)}"
        )
    segmenter = Segmenter(network, scale)
    halves: Tuple[list, list] = ([], [])
    for index in tqdm(range(len(dataset)), "calibrating", disable=not progress, unit="image"):
        image, label = dataset.read(index)
        halves[index % 2].append(sample_pixels(segmenter, image, label, dataset.ignore_index, index))
    (fit_logits, fit_labels), (logits, labels) = (tuple(map(np.concatenate, zip(*half))) for half in halves)
    if not (len(fit_labels) and len(labels)):
        raise UserError("--calibrate: half of the images have no labelled pixel")
    temperature = fit_temperature(fit_logits, fit_labels)
    before, after = (scores(logits / np.float32(one), labels) for one in (1.0, temperature))
    return Calibration(temperature, before[0], after[0], before[1], after[1], len(dataset))


def sample_pixels(
    segmenter: Segmenter, image: np.ndarray, label: np.ndarray, ignore_index: int, seed: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Logits [P, K] float32 and labels [P] uint8 of at most PIXELS labelled pixels of an image.

    Each pixel gets the logits of the network's output pixel that its class and confidence are taken from.
    """
    logits = segmenter.network.logits(segmenter.batch(image))[0]
    axes = (np.arange(side, dtype=np.uint16)[:, None] for side in logits.shape[1:])
    rows, columns = (restore(axis, (length, 1))[:, 0] for axis, length in zip(axes, label.shape))
    labelled = np.flatnonzero(label != ignore_index)
    chosen = np.random.default_rng(seed).permutation(labelled)[:PIXELS]
    y, x = np.unravel_index(chosen, label.shape)
    return np.ascontiguousarray(logits[:, rows[y], columns[x]].T), label.ravel()[chosen]


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in RANGE that minimises the negative log-likelihood, convex in the inverse temperature.

    Args:
        logits: [P, K].
        labels: [P], classes.
    """
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    target = np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=1).mean()
    low, high = 1 / RANGE[1], 1 / RANGE[0]
    while high - low > 1e-6 * high:
        inverse = (low + high) / 2
        weights = np.exp(inverse * logits)
        # The derivative: the expected logit under the model less the label's.
        if ((weights * logits).sum(axis=1) / weights.sum(axis=1)).mean() < target:
            low = inverse
        else:
            high = inverse
    return float(2 / (low + high))


def scores(logits: np.ndarray, labels: np.ndarray) -> Tuple[float, float]:
    """(expected calibration error, mean negative log-likelihood) of logits [P, K] and labels [P].

    The error is |accuracy - confidence|, averaged over BINS bins of confidence by their pixels.
    """
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    normalizer = np.log(np.exp(logits).sum(axis=1))
    likelihood = np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=1)[:, 0] - normalizer
    confidence = np.exp(-normalizer)
    right = logits.argmax(axis=1) == labels
    # (0, 1/15] is the first bin.
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels)), float(-likelihood.mean())
