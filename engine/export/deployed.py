"""The network as it is deployed: main output only, batch norm folded, with normalisation and decision in the graph."""

import copy
from typing import Optional, Tuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from engine.export.class_map import ClassMap
from engine.runtime import Description
from models.layers import ConvBN
from models.segmentation import SegmentationNetwork


class DeployedNetwork(nn.Layer):
    """A copy of a network that takes and returns what a description says.

    Args:
        model: a network of models.build_model.
        description: input, normalisation and output of the graph.
    """

    def __init__(self, model: nn.Layer, description: Description):
        super().__init__()
        self.model = fold_batch_norm(copy.deepcopy(model))
        self.takes_bytes = description.input != "float32"
        self.output_op = description.output_op
        self.temperature = description.temperature
        self.class_map = _class_map(self.model, description.size) if self.output_op == "argmax" else None
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
        if self.output_op == "none":
            return logits
        if self.output_op == "softmax":
            return F.softmax(logits if self.temperature == 1 else logits / self.temperature, axis=1)
        classes = self.class_map(logits) if self.class_map else paddle.argmax(logits, axis=1, dtype="int32")
        return classes.astype("uint8")


def _class_map(model: nn.Layer, size: Optional[Tuple[int, int]]) -> Optional[ClassMap]:
    """The replacement of resizing and argmax for a fixed size; `model` then returns logits at its head's stride."""
    if size is None or not isinstance(model, SegmentationNetwork) or model.at_stride:
        return None
    model.eval()
    model.at_stride = True
    with paddle.no_grad():
        height, width = model(paddle.zeros([1, 3, *size]))[0].shape[2:]
    return ClassMap((height, width), size, model.align_corners)


def fold_batch_norm(model: nn.Layer) -> nn.Layer:
    """Fold each batch norm that follows a convolution into it, in place; for evaluation mode only.

    Batch norms before a ReLU and a convolution, as in DDRNet's context module, are left as they are.
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
