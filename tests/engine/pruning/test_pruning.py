"""Pruning: channels found from the network, chosen by importance for their cost, and cut without changing the rest."""

from types import SimpleNamespace

from compat import UserError

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from engine.pruning.choice import choose
from engine.pruning.cutting import SIZE, channels_of, cut_weights, widths_without
from engine.pruning.graph import trace
from engine.pruning.groups import find_channels
from engine.pruning.importance import scales, sensitivity
from engine.pruning.written import write_recipe
from engine.recipe import load_recipe
from models import build_model
from models.shapes import shapes_only
from models.weights import load_weights
from tests.helpers.zero_networks import zero_networks
from tool.speed.cost import deployed_cost

NETWORKS = ("stdc1_seg", "stdc2_seg", "bisestdc", "ddrnet23_slim")


class Woven(nn.Layer):
    """A concatenation whose second half is also added to, a gate, and a filter that nothing of the sum reads."""

    output_names = ("main",)

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2D(3, 4, 1, bias_attr=False), nn.Conv2D(3, 6, 1, bias_attr=False)
        self.norm = nn.BatchNorm2D(10)
        self.gate = nn.Conv2D(10, 10, 1)
        self.last = nn.Conv2D(10, 2, 1)

    def forward(self, image):
        x = self.norm(paddle.concat([F.relu(self.left(image)), self.right(image)], axis=1))
        return [self.last(x * F.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1))))]


def traced(kind):
    with shapes_only():
        model = kind()
        graph = trace(model, (8, 8))
    return find_channels(graph)


def as_recipe(name):
    return SimpleNamespace(
        model=SimpleNamespace(type=name, widths={}, options={}, pretrained=None, backbone=SimpleNamespace())
    )


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """A network with random batch norms, its channels, and the filters of what is deployed."""
    rng = np.random.default_rng(0)
    with zero_networks():
        model = build_model(request.param, 5)
        for name, tensor in model.state_dict().items():
            if tensor.ndim == 1:
                low, high = (0.5, 1.5) if name.endswith(("weight", "_variance")) else (-0.5, 0.5)
            else:
                low, high = np.array([-1, 1]) * np.sqrt(6 / np.prod(tensor.shape[1:]))
            tensor.set_value(rng.uniform(low, high, tensor.shape).astype("float32"))
        channels, deployed = channels_of(as_recipe(request.param), 5)
    return request.param, model, channels, deployed


def test_channels_are_followed_through_concatenations_gates_and_sums():
    channels = traced(Woven)
    assert [(name, len(members)) for name, members in channels.groups.items()] == [
        ("left.weight", 4),
        ("right.weight", 6),
    ]
    of_axis = {(place.parameter, place.axis): place.channels for place in channels.places}
    left, right = channels.groups.values()
    expected = [*left, *right]
    for key in (("norm.weight", 0), ("gate.weight", 0), ("gate.weight", 1), ("gate.bias", 0), ("last.weight", 1)):
        assert of_axis[key].tolist() == expected, key
    assert of_axis["right.weight", 0].tolist() == list(right)
    # 8 x 8 pixels of 3 -> 10 and 10 -> 2, and a gate of one pixel.
    assert channels.multiply_accumulates() == 64 * (3 * 10 + 10 * 2) + 10 * 10


def test_an_operation_that_mixes_channels_is_refused_by_name():
    class Softmax(Woven):
        def forward(self, image):
            return [F.softmax(self.left(image), axis=1)]

    with pytest.raises(UserError, match="cannot follow channels through softmax of the shapes"):
        traced(Softmax)


def test_multiply_accumulates_are_those_of_model_info(network):
    name, _, channels, deployed = network
    assert channels.multiply_accumulates(deployed) == deployed_cost(name, 5, SIZE)[1]


def test_every_convolution_is_in_a_group_but_the_last_ones(network):
    name, model, channels, _ = network
    in_groups = {int(one) for members in channels.groups.values() for one in members}
    outside = {conv.parameter for conv in channels.convolutions if not in_groups.issuperset(conv.outputs.tolist())}
    assert outside == {
        f"heads.{output}.{'1.conv' if name.startswith('ddr') else 'classifier'}.weight" for output in model.output_names
    }


def test_cutting_channels_that_are_zero_changes_no_output(network):
    """A third of every group: what makes it and the batch norms that it passes are 0, what reads it is not."""
    name, model, channels, _ = network
    rng = np.random.default_rng(1)
    cut = np.sort(np.concatenate([rng.permutation(one)[: len(one) // 3] for one in channels.groups.values()]))
    before = {key: tensor.numpy().copy() for key, tensor in model.state_dict().items()}
    state = {key: value.copy() for key, value in before.items()}
    for place in channels.places:
        if place.makes or place.norm:
            zero = np.isin(place.channels, cut)
            state[place.parameter][zero] = 0
    load_weights(model, {key: paddle.to_tensor(value) for key, value in state.items()})
    image = paddle.to_tensor(rng.normal(0, 1, (1, 3, 64, 96)).astype("float32"))
    with zero_networks():
        pruned = build_model(name, 5, widths=widths_without(model, channels, cut))
    load_weights(pruned, cut_weights(model.state_dict(), channels, cut))
    outputs = []
    for one in (model, pruned):
        one.eval()
        one.training = True  # all heads, with batch norm as in evaluation
        with paddle.no_grad():
            outputs.append([output.numpy() for output in one(image)])
    load_weights(model, {key: paddle.to_tensor(value) for key, value in before.items()})
    for expected, found in zip(*outputs):
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


class Chain(nn.Layer):
    """Two convolutions, the first with batch norm; the second's output passes none."""

    output_names = ("main",)

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2D(3, 32, 3, padding=1, bias_attr=False), nn.BatchNorm2D(32)
        self.second, self.last = nn.Conv2D(32, 16, 1), nn.Conv2D(16, 3, 1)

    def forward(self, image):
        return [self.last(F.relu(self.second(F.relu(self.norm(self.first(image))))))]


@pytest.fixture(scope="module")
def chain():
    paddle.seed(3)
    model = Chain()
    model.norm.bias.set_value(paddle.linspace(-0.5, 1, 32))
    return model, traced(Chain)


def loss(logits, labels):
    return F.cross_entropy(logits, labels, axis=1)


def test_sensitivity_is_the_change_of_the_loss_to_first_order(chain):
    """Measured by shrinking what lets a channel through by a thousandth."""
    model, channels = chain
    rng = np.random.default_rng(0)
    batches = [
        (
            paddle.to_tensor(rng.normal(0, 1, (2, 3, 6, 6)).astype("float32")),
            paddle.to_tensor(rng.integers(0, 3, (2, 6, 6))),
        )
        for _ in range(2)
    ]
    found = sensitivity(model, channels, batches, loss)
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    first, second = channels.groups.values()
    norm, filters = [model.norm.weight, model.norm.bias], [model.second.weight, model.second.bias]
    model.eval()
    single = [(images[n : n + 1], labels[n : n + 1]) for images, labels in batches for n in range(2)]
    for channel, position, gates in ((first[5], 5, norm), (second[7], 7, filters)):
        squares = []
        for images, labels in single:
            losses = []
            for factor in (0.999, 1.001):
                kept = [gate.numpy().copy() for gate in gates]
                for gate, values in zip(gates, kept):
                    shrunk = values.copy()
                    shrunk[position] *= factor
                    gate.set_value(shrunk)
                losses.append(float(loss(model(images)[0], labels)))
                for gate, values in zip(gates, kept):
                    gate.set_value(values)
            squares.append(((losses[1] - losses[0]) / 0.002) ** 2)
        assert found[channel] == pytest.approx(np.mean(squares), rel=0.05), position
    model.train()


def test_a_loss_that_is_not_finite_is_named(chain):
    model, channels = chain
    batch = (paddle.full([1, 3, 6, 6], np.nan), paddle.zeros([1, 6, 6], "int64"))
    with pytest.raises(UserError, match="these weights give no finite loss on training images"):
        sensitivity(model, channels, [batch], loss)


def test_scales_of_batch_norms_are_the_other_criterion(chain):
    model, channels = chain
    model.norm.weight.set_value(paddle.linspace(-1, 1, 32))
    first, second = channels.groups.values()
    found = scales(model, channels)
    np.testing.assert_allclose(found[first], np.linspace(-1, 1, 32) ** 2, atol=1e-6)
    assert np.isinf(found[second]).all()
    model.norm.weight.set_value(paddle.ones([32]))


def remaining(channels, choice):
    """{group: number of channels that stay}."""
    return {name: int((~np.isin(members, choice.cut)).sum()) for name, members in channels.groups.items()}


def test_the_least_important_channels_go_first_and_widths_are_multiples(chain):
    _, channels = chain
    first, second = channels.groups.values()
    filters = {conv.parameter for conv in channels.convolutions}
    importance = np.zeros(1 + max(first.max(), second.max()))
    importance[first] = np.arange(32)[::-1]
    importance[second] = 1000
    # 3x3 of 3 -> 32, then 32 -> 16 -> 3: 27 + 16 multiply-accumulates a channel of the first.
    whole = 32 * 43 + 16 * 3
    choice = choose(channels, importance, filters, (24 * 43 + 48) / whole, 8)
    assert choice.cut.tolist() == sorted(first[-8:])
    assert choice.share == pytest.approx((24 * 43 + 48) / whole)
    further = choose(channels, importance, filters, 0.4, 8)
    assert remaining(channels, further) == {"first.weight": 8, "second.weight": 16}
    least = choose(channels, importance, filters, 0.1, 8)
    assert remaining(channels, least) == {"first.weight": 8, "second.weight": 8}
    assert least.share == pytest.approx((8 * (27 + 8) + 8 * 3) / whole)
    assert choose(channels, importance, filters, 1.0).cut.tolist() == []
    # 32 and 16 are no multiples of 12: the first step goes to the next one.
    choice = choose(channels, importance, filters, 0.99, 12)
    assert remaining(channels, choice) == {"first.weight": 24, "second.weight": 16}
    # A later round keeps a quarter of what there was at first.
    sizes = {"first.weight": 80, "second.weight": 16}
    later = choose(channels, importance, filters, 0.1, 8, sizes)
    assert remaining(channels, later) == {"first.weight": 24, "second.weight": 8}


def test_what_saves_more_for_the_same_importance_goes_first(chain):
    """A channel of the second saves 32 + 3, one of the first 27 + 16, of all 1 424 multiply-accumulates a pixel."""
    _, channels = chain
    first, second = channels.groups.values()
    filters = {conv.parameter for conv in channels.convolutions}
    importance = np.zeros(1 + max(first.max(), second.max()))
    for equal, expected in ((1.0, "first.weight"), (0.8, "second.weight")):  # 43 / 35 = 1.23
        importance[first], importance[second] = 1.0, equal
        cut = choose(channels, importance, filters, 0.999, 4).cut
        assert len(cut) and np.isin(cut, channels.groups[expected]).all()


def test_the_recipe_of_a_pruned_network_shows_a_name_that_is_not_utf8(tmp_path):
    config, path = "configs/stdc1_seg_sample.yml", tmp_path / "recipe.yml"
    header = "python -m tool.prune --save_dir caf\udce9"  # as Python has an argument in Latin-1
    write_recipe(path, config, "weights.pdparams", tmp_path / "model.pdparams", load_recipe(config).model, header)
    assert path.read_text(encoding="utf-8").startswith("# python -m tool.prune --save_dir caf\\udce9\n")
    assert load_recipe(path).distill.teacher.weights == "weights.pdparams"


def test_the_recipe_of_a_pruned_network_finds_its_base_through_a_link(tmp_path):
    """`..` of a linked folder leads to the parent of the link's target, so that the base was not found."""
    (tmp_path / "disk" / "below").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "below", target_is_directory=True)
    config = "configs/stdc1_seg_sample.yml"
    model = load_recipe(config).model
    write_recipe(link / "recipe.yml", config, "weights.pdparams", link / "model.pdparams", model, "pruned")
    assert load_recipe(link / "recipe.yml").distill.teacher.config == config
