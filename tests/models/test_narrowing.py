"""Widths of single convolutions: what reads them follows, and widths that do not go together are refused."""

import numpy as np
import paddle
import pytest

from models import UserError, build_model
from models.narrowing import convolutions
from models.weights import load_weights
from tests.helpers.zero_networks import zero_networks


def shapes(model):
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def test_what_reads_a_convolution_follows_its_width():
    """An STDC block with stride 2 and the one behind it: through depthwise convolution, pool and concatenation."""
    paddle.seed(0)
    whole = build_model("stdc1_seg", 5)
    paddle.seed(0)
    model = build_model("stdc1_seg", 5, widths={"backbone.stages.2.0.convs.0": 48, "backbone.stages.2.0.convs.2": 16})
    block, expected = "backbone.stages.2.0", shapes(whole)
    for norm in ("convs.0.bn", "downsample.bn"):
        expected.update({f"{block}.{norm}.{name}": [48] for name in ("weight", "bias", "_mean", "_variance")})
    expected.update({f"{block}.convs.2.bn.{name}": [16] for name in ("weight", "bias", "_mean", "_variance")})
    expected[f"{block}.convs.0.conv.weight"] = [48, 64, 1, 1]
    expected[f"{block}.downsample.conv.weight"] = [48, 1, 3, 3]
    expected[f"{block}.convs.1.conv.weight"] = [64, 48, 3, 3]
    expected[f"{block}.convs.2.conv.weight"] = [16, 64, 3, 3]
    expected[f"{block}.convs.3.conv.weight"] = [32, 16, 3, 3]
    expected["backbone.stages.2.1.convs.0.conv.weight"] = [128, 48 + 64 + 16 + 32, 1, 1]
    assert shapes(model) == expected
    own, first = (net.state_dict()[f"{block}.convs.2.conv.weight"].numpy() for net in (model, whole))
    np.testing.assert_array_equal(own, first[:16])
    assert (model.state_dict()[f"{block}.convs.2.bn._variance"].numpy() == 1).all()
    assert model.training and all(layer.training for layer in model.sublayers())
    outputs = [list(output.shape) for output in model(paddle.zeros([2, 3, 33, 47]))]
    assert outputs == [[2, 5, 33, 47]] * 3 + [[2, 1, 5, 6]]


def test_weights_of_other_widths_are_refused():
    with zero_networks():
        narrow = build_model("ddrnet23_slim", 5, widths={"backbone.fuse4.down.0": 96})
        whole = build_model("ddrnet23_slim", 5)
    with pytest.raises(UserError, match="6 of another shape"):
        load_weights(narrow, whole.state_dict())


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"fusion.con": 64}, "model.widths: layer 'fusion.con' is not known; did you mean fusion.conv"),
        ({"fusion.conv": 128}, "model.widths: what is added or multiplied after fusion.excite differs in width"),
        ({"backbone.stages.0": 0}, "backbone.stages.0: 0 is not a number of channels"),
        ({"heads.main.classifier": 4}, "as many channels as there are classes"),
        ({"backbone.stages.2.0.downsample": 64}, "backbone.stages.2.0.downsample is depthwise"),
    ],
)
def test_wrong_widths_are_named(widths, message):
    with zero_networks(), pytest.raises(UserError, match=message):
        build_model("stdc1_seg", 5, widths=widths)


def test_convolutions_have_the_names_of_their_units():
    with zero_networks():
        names = list(convolutions(build_model("bisestdc", 5)))
    assert {"spatial_path.2.convs.0", "fusion.squeeze", "heads.main.conv", "heads.main.classifier"} <= set(names)
    assert not any(name.endswith(".conv.conv") for name in names)
