"""Predictors of the class maps that are scored: a model under PaddleSeg's protocols, or a network as deployed."""

from contextlib import AbstractContextManager
from typing import Dict, Mapping, NamedTuple, Optional, Union

import numpy as np
import paddle
from paddle import nn

from data.transforms import Normalize
from engine.evaluation.inference import predict_classes, predict_details
from engine.protocols import deployed_segmenter
from engine.recipe import Protocol
from engine.runtime import Network


class Prediction(NamedTuple):
    """Of one image under one protocol."""

    classes: np.ndarray  # [H, W] uint8
    details: Optional[np.ndarray] = None  # [H, W] bool, see `inference.predict_details`


class ModelPredictor(AbstractContextManager):
    """A model under PaddleSeg's protocols; in evaluation mode within `with`, and in its former mode afterwards.

    Args:
        model: returns [logits, ...] of a normalised image.
        normalize: of the recipe's transform; computed on the device, where the image arrives once, as bytes.
        protocols: by name.
        details: whether to ask the detail head too.
    """

    def __init__(self, model: nn.Layer, normalize: Normalize, protocols: Mapping[str, Protocol], details: bool = False):
        self.model, self.normalize, self.protocols, self.details = model, normalize, protocols, details

    def __enter__(self) -> "ModelPredictor":
        self.was_training = self.model.training
        self.model.eval()
        return self

    def __exit__(self, *error) -> None:
        if self.was_training:
            self.model.train()

    def __call__(self, image: np.ndarray) -> Dict[str, Prediction]:
        """{protocol: prediction} of an image [H, W, 3] uint8 RGB."""
        tensor = self.normalize.on_device(paddle.to_tensor(image[None]))
        return {
            name: Prediction(
                predict_classes(self.model, tensor, protocol),
                predict_details(self.model, tensor, protocol) if self.details else None,
            )
            for name, protocol in self.protocols.items()
        }


class DeployedPredictor(AbstractContextManager):
    """A network of any engine, called through engine.protocols.deployed_segmenter.

    Raises:
        UserError: for a protocol of several scales or flips, or whose windows the network does not take.
    """

    def __init__(self, network: Network, protocols: Mapping[str, Protocol]):
        self.segmenters = {name: deployed_segmenter(network, name, one) for name, one in protocols.items()}

    def __exit__(self, *error) -> None:
        """Nothing to leave behind."""

    def __call__(self, image: np.ndarray) -> Dict[str, Prediction]:
        """{protocol: prediction} of an image [H, W, 3] uint8 RGB; protocols with the same network input share a run."""
        size = image.shape[:2]
        seen: Dict[tuple, Prediction] = {}
        found = {}
        for name, segmenter in self.segmenters.items():
            key = (segmenter.seen_size(size), getattr(segmenter, "windows", None))
            if key not in seen:
                seen[key] = Prediction(segmenter(image))
            found[name] = seen[key]
        return found


def predictor_of(
    model: Union[nn.Layer, Network], normalize: Normalize, protocols: Mapping[str, Protocol], details: bool = False
) -> Union[ModelPredictor, DeployedPredictor]:
    """The predictor of a model or of a network; see the classes."""
    if isinstance(model, Network):
        return DeployedPredictor(model, protocols)
    return ModelPredictor(model, normalize, protocols, details)
