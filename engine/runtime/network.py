"""What all engines have in common."""

from abc import ABC, abstractmethod
from typing import Optional, Tuple

from compat import UserError

import numpy as np

from data.transforms import Normalize
from engine.runtime.description import Description


class Network(ABC):
    """A network that an engine computes.

    Args:
        engine: `paddle`, `onnxruntime`, `openvino`, `mnn` or `eager`.
        precision: `fp32`, `bf16`, `fp16` or `int8`: what convolutions are computed in.
        description: of what `run` takes and returns.
    """

    def __init__(self, engine: str, precision: str, description: Description):
        self.engine = engine
        self.precision = precision
        self.description = description

    @property
    def num_classes(self) -> int:
        return self.description.num_classes

    @property
    def size(self) -> Optional[Tuple[int, int]]:
        """(h, w) that images must have, or None for any."""
        return self.description.size

    @property
    def gives_logits(self) -> bool:
        """Whether `logits` works: not where the graph ends with argmax or softmax."""
        return self.description.output_op == "none"

    @property
    def gives_confidence(self) -> bool:
        """Whether `confident_classes` works: not where the graph ends with argmax."""
        return self.description.output_op != "argmax"

    @abstractmethod
    def run(self, batch: np.ndarray) -> np.ndarray:
        """Run the engine alone, on what the description says; the next call may reuse the array that it returns."""

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """The input of `run` for images [N, H, W, 3] uint8 RGB.

        Raises:
            UserError: for another size or batch than the graph is fixed to.
        """
        size, batch = self.description.size, self.description.batch
        if size and images.shape[1:3] != size:
            raise UserError(
                f"image of {images.shape[2]}x{images.shape[1]}: this network was exported for {size[1]}x{size[0]}; "
                "resize the image, or export with --input_shape 1 3 -1 -1"
            )
        if batch and len(images) != batch:
            raise UserError(f"batch of {len(images)}: this network was exported for {batch}; see --input_shape")
        if self.description.input == "uint8_bgr":
            images = images[..., ::-1]
        elif self.description.input == "float32":
            normalize = Normalize(mean=self.description.mean, std=self.description.std)
            return np.stack([normalize(image) for image in images])
        return np.ascontiguousarray(images)

    def classes(self, images: np.ndarray) -> np.ndarray:
        """Class maps [N, H, W] uint8 of images [N, H, W, 3] uint8 RGB; raises as `prepare`."""
        output = self.run(self.prepare(images))
        return first_largest(output)[0] if self.gives_confidence else output

    def confident_classes(self, images: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Class maps as `classes` returns them, and their confidence [N, H, W] float32 in (0, 1].

        That is the largest of the probabilities softmax(logits / temperature).

        Raises:
            UserError: as `prepare`, and where the graph ends with argmax.
        """
        if not self.gives_confidence:
            raise UserError(
                "this network returns class maps alone; for their confidence export it with --output_op softmax"
            )
        output = self.run(self.prepare(images))
        classes, largest = first_largest(output)
        if not self.gives_logits:
            return classes, largest
        return classes, confidence_of(output, largest, self.description.temperature)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits [N, K, H, W] float32 of images [N, H, W, 3] uint8 RGB.

        Raises:
            UserError: as `prepare`, and where the graph ends with argmax or softmax.
        """
        if not self.gives_logits:
            raise UserError(
                f"this network returns {'probabilities' if self.gives_confidence else 'class maps'}; for logits export "
                "it with --output_op none"
            )
        return self.run(self.prepare(images))


def first_largest(scores: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The class of the largest score of each pixel, the first among equal ones, and that score.

    Numpy's argmax along an axis that is not the last takes 25 times as long; a maximum and comparisons run along rows.

    Args:
        scores: [N, K, H, W] of any float type, K at most 256.

    Returns:
        [N, H, W] uint8 and [N, H, W] of the scores' type.
    """
    largest = scores.max(axis=1)
    smaller = scores[:, 0] != largest
    classes = smaller.astype(np.uint8)
    for index in range(1, scores.shape[1] - 1):
        smaller &= scores[:, index] != largest
        classes += smaller
    return classes, largest


def confidence_of(logits: np.ndarray, largest: np.ndarray, temperature: float) -> np.ndarray:
    """The largest of the probabilities softmax(logits / temperature), [N, H, W] float32 in (0, 1].

    Args:
        logits: [N, K, H, W] float32.
        largest: [N, H, W], the largest of them.
        temperature: greater than 0.
    """
    apart = (logits - largest[:, None]) / np.float32(temperature)
    # The largest logit's exponential is 1.
    return 1 / np.exp(apart, out=apart).sum(axis=1)
