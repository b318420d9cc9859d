"""Copy-paste of rare classes between the images of a batch (Ghiasi et al., CVPR 2021, without instances)."""

from typing import Sequence, Tuple

from compat.options import Options, Share

import numpy as np


class CopyPasteOptions(Options):
    """A recipe's `copy_paste`.

    prob: share of the samples that receive a class, if another sample of the batch has a rare one.
    max_frequency: a class is rare if its share of the training set's pixels is at most this.
    """

    prob: Share = 0.5
    max_frequency: Share = 0.02


class CopyPaste:
    """Pastes the pixels of a rare class of one training sample onto another of the same batch, at the same place.

    Args:
        histogram: [n, K], pixels of each class in each image of the dataset.
        options: the share of the samples that receive a class, and which classes are rare.
    """

    def __init__(self, histogram: np.ndarray, options: CopyPasteOptions):
        self.prob = options.prob
        frequency = histogram.sum(0) / max(1, histogram.sum())
        self.rare = np.flatnonzero((frequency > 0) & (frequency <= options.max_frequency))

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, numbers: Sequence[int], seed: int
    ) -> Tuple[np.ndarray, np.ndarray]:
        """The batch after pasting, a function of the samples, their numbers and the seed.

        Args:
            images: [N, h, w, 3] uint8.
            labels: [N, h, w] uint8.
            numbers: [N] of the samples.
            seed: of the run.

        Returns:
            New images and labels; pixels are copied from the samples as they were before.
        """
        pasted_images, pasted_labels = images.copy(), labels.copy()
        for position, number in enumerate(numbers):
            rng = np.random.default_rng([seed, number, 4, 0, 0, 0])  # stream 4, see data.loader
            if len(numbers) < 2 or rng.random() >= self.prob:
                continue
            donor = (position + int(rng.integers(1, len(numbers)))) % len(numbers)
            present = np.intersect1d(self.rare, labels[donor])
            if len(present):
                mask = labels[donor] == present[rng.integers(len(present))]
                pasted_images[position][mask] = images[donor][mask]
                pasted_labels[position][mask] = labels[donor][mask]
        return pasted_images, pasted_labels
