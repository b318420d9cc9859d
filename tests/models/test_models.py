"""Every network passes the shared tester; then what single networks and the registry promise."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from models import UserError, build_model, list_models
from models.ddrnet import DAPPM
from models.layers import resize
from models.stdcnet import ShortTermDenseConcat

pytest.register_assert_rewrite("tests.helpers.network_tester")  # its assertions show their values, as those of tests do

from tests.helpers.network_tester import CHECKS, OUTPUTS  # noqa: E402  after the line above
from tests.helpers.zero_networks import zero_networks  # noqa: E402


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__[len("check_") :])
@pytest.mark.parametrize("name", list_models())
def test_network(check, name):
    check(name)


def test_the_tester_knows_every_model():
    assert list_models() == sorted(OUTPUTS)


def test_an_unknown_name_gets_the_nearest_and_the_list():
    with pytest.raises(UserError, match="did you mean ddrnet23_slim") as error:
        build_model("ddrnet23slim", 19)
    assert all(name in str(error.value) for name in list_models())


@pytest.mark.parametrize(
    ("name", "option", "known"),
    [
        ("stdc1", "detail_strides", "none"),
        ("stdc2_seg", "detail_stride", "align_corners, aux_channels, aux_strides, .*, detail_strides, .*"),
        ("bisestdc", "spatial_widths", "align_corners, aux_channels, backbone_aux_strides, dropout, head_channels"),
        ("ddrnet23", "width", "align_corners, aux_channels, dropout, head_channels"),
    ],
)
def test_an_unknown_option_gets_the_known_ones(name, option, known):
    with pytest.raises(UserError, match=f"model {name}: option '{option}' is not known;.* Known: {known}$"):
        build_model(name, 19, **{option: 8})


@pytest.mark.parametrize("name", list_models())
def test_classes_must_be_at_least_one(name):
    with pytest.raises(UserError, match="num_classes is 0"):
        build_model(name, 0)


def test_detail_strides_choose_the_detail_outputs():
    model = build_model("stdc1_seg", 3, detail_strides=[16, 2, 4, 2])
    assert model.output_names == ("main", "aux8", "aux16", "detail2", "detail4", "detail16")
    outputs = model(paddle.zeros([1, 3, 65, 97]))
    assert [list(output.shape) for output in outputs[3:]] == [[1, 1, 33, 49], [1, 1, 17, 25], [1, 1, 5, 7]]


@pytest.mark.parametrize("name", ["stdc1_seg", "bisestdc", "ddrnet23_slim"])
def test_align_corners_is_how_the_logits_are_resized(name):
    outputs = []
    for align_corners in (True, False):
        paddle.seed(0)
        model = build_model(name, 3, align_corners=align_corners)
        model.eval()
        outputs.append(model(paddle.ones([1, 3, 64, 64]))[0].numpy())
    assert outputs[0].shape == outputs[1].shape
    assert (outputs[0] != outputs[1]).any()


@pytest.mark.parametrize("name", ["stdc1_seg", "bisestdc", "ddrnet23_slim"])
def test_a_backbone_is_taken_from_another_network(name, tmp_path):
    source = build_model({"ddrnet23_slim": "ddrnet23_slim"}.get(name, "stdc1"), 7)
    path = tmp_path / "source.pdparams"
    paddle.save(source.state_dict(), str(path))
    model = build_model(name, 3, backbone_pretrained=str(path))
    taken = model.backbone.state_dict()
    for key, tensor in source.backbone.state_dict().items():
        np.testing.assert_array_equal(taken[key].numpy(), tensor.numpy())


@pytest.mark.parametrize(
    ("name", "options"), [("ddrnet23_slim", {}), ("stdc1", {}), ("stdc1_seg", {"backbone_aux_strides": [16]})]
)
def test_pretrained_weights_of_other_classes_do_not_fit(name, options, tmp_path):
    path = tmp_path / "seven.pdparams"
    with zero_networks():
        paddle.save(build_model(name, 7, **options).state_dict(), str(path))
        with pytest.raises(UserError, match="has 7 classes, .* 3"):
            build_model(name, 3, pretrained=str(path), **options)
        assert build_model(name, 7, pretrained=str(path), **options).training


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_weights_of_another_type_are_converted(tmp_path, dtype):
    from models.weights import load_weights

    model = build_model("stdc1_seg", 3)
    expected = {name: tensor.numpy().astype(dtype) for name, tensor in model.state_dict().items()}
    paddle.save({n: paddle.to_tensor(v) for n, v in expected.items()}, str(tmp_path / "model.pdparams"))
    model = build_model("stdc1_seg", 3)
    assert load_weights(model, tmp_path / "model.pdparams") == len(expected)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == paddle.float32
        np.testing.assert_array_equal(tensor.numpy(), expected[name].astype("float32"))


def test_average_pools_count_the_padding():
    pools = [ShortTermDenseConcat(8, 16, stride=2).pool, *list(DAPPM(8, 8, 8).pools)[1:4]]
    # The corner of a map of ones sees kernel//2 + 1 ones in each direction and zeros around them.
    corners = [float(pool(paddle.ones([1, 1, 32, 32]))[0, 0, 0, 0]) for pool in pools]
    np.testing.assert_allclose(corners, [(2 / 3) ** 2, (3 / 5) ** 2, (5 / 9) ** 2, (9 / 17) ** 2], rtol=1e-6)


@pytest.mark.parametrize(("name", "width", "low"), [("ddrnet23_slim", 64, 512), ("ddrnet23", 128, 1024)])
def test_branches_of_ddrnet_have_their_strides(name, width, low):
    branches = build_model(name, 19).backbone(paddle.zeros([1, 3, 128, 192]))
    assert [list(x.shape) for x in branches] == [[1, width, 16, 24], [1, 2 * width, 16, 24], [1, low, 2, 3]]


@pytest.mark.parametrize(("name", "first"), [("bisestdc", [64, 64]), ("bisestdc2", [128, 128])])
def test_spatial_path_of_bisestdc_works_at_its_strides(name, first):
    path = build_model(name, 19).spatial_path
    image = paddle.zeros([1, 3, 128, 128])
    assert list(path[0](image).shape[2:]) == first
    assert list(path(image).shape[2:]) == [32, 32]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("size", "new_size"), [((4, 7), (32, 56)), ((5, 3), (33, 20)), ((6, 8), (3, 5)), ((1, 1), (4, 6))]
)
def test_resizing_with_gradient_is_paddles(size, new_size, align_corners):
    """In training on a CPU, resizing is done by matrices; without gradient, and elsewhere, by Paddle's operator."""
    x = paddle.randn([2, 3, *size])
    x.stop_gradient = False
    upstream = paddle.randn([2, 3, *new_size])
    outputs = [
        resize(x, new_size, align_corners=align_corners),
        F.interpolate(x, size=new_size, mode="bilinear", align_corners=align_corners),
    ]
    gradients = [paddle.grad([output], [x], [upstream])[0] for output in outputs]
    for ours, paddles in (outputs, gradients):
        np.testing.assert_allclose(ours.numpy(), paddles.numpy(), rtol=1e-5, atol=1e-5)
    assert (resize(x.detach(), new_size, align_corners=align_corners) == outputs[1]).all()
