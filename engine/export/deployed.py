"""The network as it is deployed: main output only, batch norm folded, and what surrounds it in the graph."""

import copy

import numpy as np
import paddle
from paddle import nn

from engine.engines import Description
from models.layers import ConvBN


class DeployedNetwork(nn.Layer):
    """Takes and answers what the description says; the network given is left as it is.

    Args:
        model: a network of models.build_model.
        description: input, normalisation and output of the graph.
    """

    def __init__(self, model: nn.Layer, description: Description):
        super().__init__()
        self.model = fold_batch_norm(copy.deepcopy(model))
        self.takes_bytes = description.input != "float32"
        self.takes_argmax = description.output_op == "argmax"
        mean, std = (np.asarray(values, "float32") for values in (description.mean, description.std))
        self.reverses = description.input == "uint8_bgr"
        self.register_buffer("scale", paddle.to_tensor((1 / (255 * std)).reshape(1, 3, 1, 1)))
        self.register_buffer("offset", paddle.to_tensor((mean / std).reshape(1, 3, 1, 1)))
        self.eval()

    def forward(self, image):
        if self.takes_bytes:
            image = image.astype("float32").transpose([0, 3, 1, 2])
            if self.reverses:
                image = paddle.concat([image[:, 2:], image[:, 1:2], image[:, :1]], axis=1)
            image = image * self.scale - self.offset
        logits = self.model(image)[0]
        if self.takes_argmax:
            return paddle.argmax(logits, axis=1, dtype="int32").astype("uint8")
        return logits


def fold_batch_norm(model: nn.Layer) -> nn.Layer:
    """Fold each batch norm that follows a convolution into it, in place; for evaluation mode only.

    A batch norm that stands before a ReLU and a convolution, as in DDRNet's context module, stays.
    """
    for layer in model.sublayers(include_self=True):
        if isinstance(layer, ConvBN):
            _fold(layer.conv, layer.bn)
            layer.bn = nn.Identity()
    return model


def _fold(conv: nn.Conv2D, norm: nn.BatchNorm2D) -> None:
    weight, gamma, beta, mean, variance = (
        tensor.numpy().astype("float64") for tensor in (conv.weight, norm.weight, norm.bias, norm._mean, norm._variance)
    )
    factor = gamma / np.sqrt(variance + norm._epsilon)
    bias = 0 if conv.bias is None else conv.bias.numpy()
    conv.weight.set_value((weight * factor[:, None, None, None]).astype("float32"))
    if conv.bias is None:
        conv.bias = conv.create_parameter(list(factor.shape), is_bias=True)
    conv.bias.set_value((beta + (bias - mean) * factor).astype("float32"))
