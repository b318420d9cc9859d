"""What a recipe and the flags of tool.export say of a graph, and the shapes that they cannot say."""

from compat import UserError

import pytest

from engine.export.describe import describe_graph
from engine.recipe import load_recipe

CONFIG = "configs/stdc1_seg_camvid_960x720.yml"


def test_a_graph_is_for_the_validation_of_the_recipe():
    normalize = {"type": "Normalize", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    protocols = {"seg75": {"scales": 0.75}, "full": {"scales": 1.0}}
    recipe = load_recipe(CONFIG, {"val_dataset.transforms": [normalize], "test_config": protocols})
    found = describe_graph(recipe, (2, 3, 64, 96), "uint8_bgr", "softmax", 1.5)
    assert (found.batch, found.size, found.input, found.output_op) == (2, (64, 96), "uint8_bgr", "softmax")
    assert (found.mean, found.std, found.scale, found.temperature) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 0.75, 1.5)
    assert found.num_classes == 11 and found.classes.names[0] == "sky"
    free = describe_graph(recipe, (-1, 3, -1, -1), "uint8_rgb", "argmax")
    assert free.batch is None and free.size is None and free.temperature == 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 64), "--input_shape 1 3 64: expected N 3 H W"),
        ((1, 4, 64, 64), "expected N 3 H W"),
        ((0, 3, 64, 64), "expected N 3 H W"),
        ((1, 3, 64, -2), "expected N 3 H W"),
        ((1, 3, 64, -1), "height 64 and width -1 must both be fixed, or both be -1"),
        ((1, 3, -1, 64), "must both be fixed"),
    ],
)
def test_shapes_that_no_graph_has(shape, message):
    with pytest.raises(UserError, match=message):
        describe_graph(load_recipe(CONFIG), shape, "uint8_rgb", "argmax")
