"""How closely an exported network agrees with the network that it was exported from."""

from typing import Iterable, Iterator, NamedTuple

import cv2
import numpy as np

from engine.runtime import Description, Network

LOGITS_TOLERANCE = 1e-4
EQUAL_PIXELS = 0.999
COMPARED = {
    "none": "logits differ by",
    "softmax": "probabilities differ by",
    "argmax": "classes are behind eager's by logits of",
}


class Agreement(NamedTuple):
    """Agreement of an exported network with eager mode.

    difference: largest difference of logits, or of probabilities, as a share of the largest logit. Where the graph ends
        with argmax, the largest lead that eager's own class has over the class returned.
    equal_pixels: share of pixels of the same class.
    compared: the `output_op` of the graph.
    """

    difference: float
    equal_pixels: float
    compared: str = "none"

    @property
    def holds(self) -> bool:
        return self.difference <= LOGITS_TOLERANCE and self.equal_pixels >= EQUAL_PIXELS  # False for NaN

    def __str__(self) -> str:
        what = COMPARED[self.compared]
        return f"{what} {self.difference:.1e} of the largest, {100 * self.equal_pixels:.3f} % of pixels equal"


def compare(network: Network, eager: Network, batches: Iterable[np.ndarray]) -> Agreement:
    """Compare two networks on batches [N, H, W, 3] uint8 RGB; `eager` must return logits."""
    difference, equal, compared = 0.0, [], network.description.output_op
    for images in batches:
        expected = eager.logits(images)
        wanted = expected.argmax(axis=1)
        if network.gives_confidence:
            output = network.run(network.prepare(images))
            if output.shape != expected.shape:
                return Agreement(float("inf"), 0.0, compared)
            classes = output.argmax(axis=1)
            apart = np.abs(output - (expected if network.gives_logits else probabilities(expected, network)))
        else:
            classes = network.classes(images)
            if classes.shape != wanted.shape or classes.max() >= expected.shape[1]:
                return Agreement(float("inf"), 0.0, compared)
            chosen = np.take_along_axis(expected, classes.astype(np.int64)[:, None], axis=1)
            apart = expected.max(axis=1, keepdims=True) - chosen
        # np.maximum propagates NaN, max does not.
        difference = np.maximum(difference, apart.max() / np.abs(expected).max())
        equal.append(np.mean(classes == wanted))
    return Agreement(float(difference), float(np.mean(equal)), compared)


def probabilities(logits: np.ndarray, network: Network) -> np.ndarray:
    """softmax(logits / temperature) [N, K, H, W] float32."""
    exponentials = np.exp((logits - logits.max(axis=1, keepdims=True)) / np.float32(network.description.temperature))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def probe_images(description: Description, seed: int = 0) -> Iterator[np.ndarray]:
    """Test batches for a graph: noise and blobs of colour; of several sizes, some odd, if the graph takes any."""
    rng = np.random.default_rng(seed)
    sizes = [description.size] * 2 if description.size else [(64, 128), (97, 161), (128, 96)]
    for number, (height, width) in enumerate(sizes):
        shape = (description.batch or number + 1, height, width, 3)
        if number % 2:
            blobs = [rng.integers(0, 256, (4, 6, 3), dtype=np.uint8) for _ in range(shape[0])]
            yield np.stack([cv2.resize(blob, (width, height), interpolation=cv2.INTER_CUBIC) for blob in blobs])
        else:
            yield rng.integers(0, 256, shape, dtype=np.uint8)
