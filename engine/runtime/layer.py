"""An exported network in the place of a model, so that the evaluator can score what ships."""

import numpy as np
import paddle
from paddle import nn

from data.transforms import Normalize
from engine.runtime.network import Network


class NetworkLayer(nn.Layer):
    """`forward(image [N, 3, H, W] float32, normalised RGB)` returns [logits [N, K, H, W]], as our models do.

    The image goes into the network as bytes, rounded where the evaluation has scaled it. A network that answers class
    maps gives logits of 1 for its class and 0 for the others.
    """

    output_names = ("main",)

    def __init__(self, network: Network, normalize: Normalize):
        super().__init__()
        self.network = network
        self.normalize = normalize

    def forward(self, image):
        images = np.stack([self.normalize.undo(one) for one in image.numpy()])
        if self.network.gives_logits:
            return [paddle.to_tensor(self.network.logits(images))]
        ones = np.eye(self.network.num_classes, dtype=np.float32)[self.network.classes(images)]
        return [paddle.to_tensor(np.ascontiguousarray(ones.transpose(0, 3, 1, 2)))]
