"""Opens the network of a recipe or an export as a function from images to class maps."""

from typing import Callable, Optional, Union

from compat import UserError

import numpy as np
import paddle
import paddle.nn.functional as F

from engine.evaluation.inference import predict_classes, predict_logits
from engine.protocols import deployed_scale, deployed_segmenter, first_protocol, is_deployable
from engine.recipe import Protocol, Recipe
from engine.runtime import EagerNetwork, Segmentation, Segmenter, Windows, WindowSegmenter, open_network
from engine.runtime.eager import decide
from engine.runtime.segmenter import check_unknown_below

Classify = Callable[[np.ndarray], np.ndarray]
"""[H, W, 3] uint8 RGB -> class map [H, W] uint8."""


class AugmentedSegmenter:
    """The counterpart of Segmenter for protocols with several scales or flips, as tool.evaluate computes them.

    Args:
        network: whose model and normalisation are used.
        protocol: scales, flips and windows.
        unknown_below: see Segmenter.
    """

    def __init__(self, network: EagerNetwork, protocol: Protocol, unknown_below: float = 0.0):
        check_unknown_below(unknown_below)
        self.network, self.protocol, self.unknown_below = network, protocol, unknown_below

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Class map [H, W] uint8 of an image [H, W, 3] uint8 RGB."""
        if self.unknown_below:
            return self.segment(image).known(self.unknown_below)
        return predict_classes(self.network.model, self._normalized(image), self.protocol)

    def segment(self, image: np.ndarray) -> Segmentation:
        """Class map and confidence of an image [H, W, 3] uint8 RGB."""
        with paddle.no_grad():
            logits = predict_logits(self.network.model, self._normalized(image), self.protocol)
            confidence = F.softmax(logits / self.network.description.temperature, axis=1).max(axis=1)
        return Segmentation(decide(logits)[0], confidence.numpy()[0].astype(np.float32))

    def _normalized(self, image: np.ndarray) -> paddle.Tensor:
        return self.network.normalize.on_device(paddle.to_tensor(image[None]))


def open_classifier(
    recipe: Recipe,
    num_classes: int,
    model_path: str,
    engine: str = "eager",
    precision: Optional[str] = None,
    unknown_below: float = 0.0,
    temperature: Optional[float] = None,
    windows: Optional[Windows] = None,
    confidence_for: Optional[str] = None,
) -> Union[Segmenter, WindowSegmenter, AugmentedSegmenter]:
    """Open the network of `model_path` for prediction under the recipe's first protocol.

    With one scale and no flip, every engine uses engine.protocols.deployed_segmenter, so class maps equal those of an
    export. Several scales and flips are supported in eager mode only, and computed as in tool.evaluate.

    Args:
        recipe: of the network, its normalisation and its protocols.
        num_classes: of the recipe's dataset.
        model_path, engine, precision, temperature: see open_network.
        unknown_below, windows: see deployed_segmenter.
        confidence_for: the flag that needs a confidence, which the error message names; None if none does.

    Raises:
        UserError: for several scales or flips with an exported network, for a network without the confidence that is
            needed, and as open_network and Segmenter do.
    """
    name, protocol = first_protocol(recipe.test_config)
    augmented = engine == "eager" and windows is None and not is_deployable(protocol)
    if not augmented:
        deployed_scale(name, protocol)  # refused before the network is loaded
    network = open_network(recipe, num_classes, model_path, engine, precision, temperature)
    if confidence_for and not network.gives_confidence:
        raise UserError(f"{confidence_for}: this network returns class maps alone; export it with --output_op softmax")
    if augmented:
        return AugmentedSegmenter(network, protocol, unknown_below)
    return deployed_segmenter(network, name, protocol, unknown_below, windows)
