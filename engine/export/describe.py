"""The graph that a recipe asks for, before it is written."""

from typing import Sequence

from compat import UserError

from data import dataset_classes
from data.transforms import build_transform
from engine.protocols import deployed_scale, first_protocol
from engine.recipe import Recipe
from engine.runtime import Description


def describe_graph(
    recipe: Recipe, input_shape: Sequence[int], image: str, output_op: str, temperature: float = 1.0
) -> Description:
    """The description of a graph for the recipe's classes, normalisation and scale.

    Raises:
        UserError: for a wrong shape, and a first protocol of several scales, flips or windows.
    """
    if len(input_shape) != 4 or input_shape[1] != 3 or any(side == 0 or side < -1 for side in input_shape):
        raise UserError(f"--input_shape {' '.join(map(str, input_shape))}: expected N 3 H W, with -1 for any")
    batch, _, height, width = input_shape
    if (height == -1) != (width == -1):
        raise UserError(f"--input_shape: height {height} and width {width} must both be fixed, or both be -1")
    normalize = build_transform(recipe.val_dataset.transforms, "val").normalize
    classes = dataset_classes(recipe.val_dataset.type, **recipe.val_dataset.options)
    return Description(
        num_classes=len(classes.names),
        input=image,
        output_op=output_op,
        size=None if height == -1 else (height, width),
        batch=None if batch == -1 else batch,
        mean=tuple(map(float, normalize.mean)),
        std=tuple(map(float, normalize.std)),
        scale=deployed_scale(*first_protocol(recipe.test_config)),
        temperature=temperature,
        classes=classes,
    )
