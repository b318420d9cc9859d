"""What predicts the class maps of a recipe's network, for the commands that show them."""

from typing import Callable, Optional

import numpy as np
import paddle

from engine.evaluation.inference import predict_classes
from engine.protocols import deployed_scale, first_protocol, is_deployable
from engine.recipe import Protocol, Recipe
from engine.runtime import EagerNetwork, Segmenter, open_network

Classify = Callable[[np.ndarray], np.ndarray]
"""[H, W, 3] uint8 RGB -> class map [H, W] uint8."""


def open_classifier(
    recipe: Recipe, num_classes: int, model_path: str, engine: str = "eager", precision: Optional[str] = None
) -> Classify:
    """The network that `model_path` holds, run as the recipe's first protocol says.

    At one scale, without flips and windows, every engine goes through engine.runtime.Segmenter: the class map is that
    of an export. For several scales, flips and windows, which only eager computes, it is that of tool.evaluate.

    Raises:
        UserError: for such a protocol with an exported network, and as open_network.
    """
    name, protocol = first_protocol(recipe.test_config)
    if engine == "eager" and not is_deployable(protocol):
        return _augmented(open_network(recipe, num_classes, model_path, engine, precision), protocol)
    scale = deployed_scale(name, protocol)
    return Segmenter(open_network(recipe, num_classes, model_path, engine, precision), scale)


def _augmented(network: EagerNetwork, protocol: Protocol) -> Classify:
    def classify(image: np.ndarray) -> np.ndarray:
        tensor = network.normalize.on_device(paddle.to_tensor(image[None]))
        return predict_classes(network.model, tensor, protocol)

    return classify
