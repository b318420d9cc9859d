"""The description of the graph that a recipe is exported to."""

from typing import Sequence

from compat import UserError

from engine.protocols import deployed_scale, first_protocol
from engine.recipe import Recipe
from engine.runtime import Description


def describe_graph(
    recipe: Recipe, input_shape: Sequence[int], image: str, output_op: str, temperature: float = 1.0
) -> Description:
    """The description of a graph for the recipe's classes, normalisation and scale.

    Args:
        recipe: its val_dataset and its first protocol count.
        input_shape: N 3 H W, with -1 for any N, or for any H and W.
        image: one of engine.runtime.description.INPUTS.
        output_op: one of engine.runtime.description.OUTPUT_OPS.
        temperature: of a softmax.

    Raises:
        UserError: for a wrong shape, and for a first protocol of several scales or flips.
    """
    if len(input_shape) != 4 or input_shape[1] != 3 or any(side == 0 or side < -1 for side in input_shape):
        raise UserError(f"--input_shape {' '.join(map(str, input_shape))}: expected N 3 H W, with -1 for any")
    batch, _, height, width = input_shape
    if (height == -1) != (width == -1):
        raise UserError(f"--input_shape: height {height} and width {width} must both be fixed, or both be -1")
    normalize, classes = recipe.val_dataset.normalize, recipe.val_dataset.class_set
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
