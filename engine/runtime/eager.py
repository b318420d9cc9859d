"""The network in Paddle's eager mode, as in training."""

from typing import Optional

import numpy as np
import paddle
from paddle import nn

from data.transforms import Normalize
from engine.runtime.description import Description
from engine.runtime.network import Network, first_largest


class EagerNetwork(Network):
    """A network of models.build_model in evaluation mode, behind the interface of an engine.

    Images are normalised, and class maps decided, on the device that Paddle uses.

    Args:
        model: returns [logits, ...] of a normalised image.
        num_classes: number of classes K.
        normalize: the recipe's transform.
        temperature: of `confident_classes`.
    """

    def __init__(
        self, model: nn.Layer, num_classes: int, normalize: Optional[Normalize] = None, temperature: float = 1.0
    ):
        self.normalize = normalize or Normalize()
        mean, std = self.normalize.mean, self.normalize.std
        description = Description(
            num_classes, output_op="none", batch=None, mean=mean, std=std, temperature=temperature
        )
        super().__init__("eager", "fp32", description)
        model.eval()
        self.model = model

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._logits(batch).numpy()

    def classes(self, images: np.ndarray) -> np.ndarray:
        return decide(self._logits(images))

    def _logits(self, images: np.ndarray) -> paddle.Tensor:
        with paddle.no_grad():
            return self.model(self.normalize.on_device(paddle.to_tensor(images)))[0]


def decide(logits: paddle.Tensor) -> np.ndarray:
    """Class maps [N, H, W] uint8 of logits [N, K, H, W]: the first of the largest, decided where the logits are."""
    if logits.place.is_cpu_place():
        return first_largest(logits.numpy())[0]
    with paddle.no_grad():
        return paddle.argmax(logits, axis=1, dtype="int32").numpy().astype(np.uint8)
