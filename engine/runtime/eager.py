"""The network as Paddle runs it in training: no engine at all."""

from typing import Tuple

import numpy as np
import paddle
from paddle import nn

from data.transforms import Normalize
from engine.runtime.description import Description
from engine.runtime.network import Network


class EagerNetwork(Network):
    """A network of models.build_model in evaluation mode, behind the interface of an engine.

    Args:
        model: answers [logits, ...] to a normalised image.
        num_classes: number of classes K.
        normalize: (mean, std) of the recipe's transform.
    """

    def __init__(self, model: nn.Layer, num_classes: int, normalize: Tuple = Normalize()):
        mean, std = normalize
        super().__init__(
            "eager", "fp32", Description(num_classes, "float32", "none", batch=None, mean=tuple(mean), std=tuple(std))
        )
        model.eval()
        self.model = model

    def run(self, batch: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            return self.model(paddle.to_tensor(batch))[0].numpy()
