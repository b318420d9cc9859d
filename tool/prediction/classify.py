"""From an image of any size to its class map, by a network of any engine."""

from pathlib import Path
from typing import Callable, Union

from compat import UserError

import cv2
import numpy as np
import paddle

from data.transforms import build_transform
from engine.build import network_of, weight_file
from engine.evaluation.inference import predict_classes
from engine.recipe import Protocol, Recipe
from engine.runtime import Network
from models.weights import load_weights

Classify = Callable[[np.ndarray], np.ndarray]
"""[H, W, 3] uint8 RGB -> class map [H, W] uint8."""


def recipe_classifier(recipe: Recipe, num_classes: int, model_path: str, protocol: Protocol) -> Classify:
    """The network of a recipe with weights of a file, run by Paddle as a protocol says."""
    model = network_of(recipe, num_classes, weights=False)
    load_weights(model, weight_file(model_path))
    model.eval()
    transform = build_transform(recipe.val_dataset.transforms, "val")
    return lambda image: predict_classes(model, paddle.to_tensor(transform(image)[None]), protocol)


def network_classifier(network: Network, num_classes: int, path: Union[str, Path], scale: float = 1.0) -> Classify:
    """An exported network. Images are brought to the size it is fixed to, or else scaled; class maps are brought back.

    Raises:
        UserError: where its number of classes differs from the recipe's.
    """
    if network.num_classes != num_classes:
        raise UserError(f"{path}: has {network.num_classes} classes, the recipe {num_classes}; name its recipe")

    def classify(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        seen_height, seen_width = network.size or (round(height * scale), round(width * scale))
        shrinks = seen_width < width
        if (seen_height, seen_width) != (height, width):
            image = cv2.resize(
                image, (seen_width, seen_height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            )
        class_map = network.classes(image[None])[0]
        return cv2.resize(class_map, (width, height), interpolation=cv2.INTER_NEAREST)

    return classify
