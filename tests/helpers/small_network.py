"""A network that is fast to build and run."""

import paddle
from paddle import nn


class SmallNetwork(nn.Layer):
    """Logits of one strided convolution, quantised so that equal logits are frequent."""

    def __init__(self, num_classes: int, levels: int = 4):
        super().__init__()
        paddle.seed(7)
        self.levels = levels
        self.conv = nn.Conv2D(3, num_classes, 5, stride=2, padding=2)

    def forward(self, image):
        logits = paddle.round(self.conv(image) * self.levels) / self.levels
        return [nn.functional.interpolate(logits, image.shape[2:], mode="nearest")]
