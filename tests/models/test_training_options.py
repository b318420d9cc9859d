"""Auxiliary heads on the backbone and dropout in heads: more to train, the same network deployed."""

import numpy as np
import paddle
import pytest

from models import UserError, build_model
from models.weights import load_weights

OPTIONS = {
    "stdc1_seg": {"backbone_aux_strides": [32, 16], "aux_strides": [], "dropout": 0.2},
    "bisestdc": {"backbone_aux_strides": [16, 32], "dropout": 0.2},
    "ddrnet23_slim": {"dropout": 0.2},
}
NAMES = {
    "stdc1_seg": ("main", "backbone16", "backbone32", "detail8"),
    "bisestdc": ("main", "aux4", "aux8", "aux16", "backbone16", "backbone32", "detail4"),
    "ddrnet23_slim": ("main", "aux8"),
}


def image():
    return paddle.to_tensor(np.random.default_rng(0).normal(0, 1, (2, 3, 64, 96)).astype("float32"))


def operators(model):
    """What the exported program computes, in order; parameters that nothing reads are not exported."""
    model.eval()
    specification = paddle.static.InputSpec([1, 3, 64, 96], "float32")
    # The whole graph, as paddle.jit.save makes it.
    program = paddle.jit.to_static(model, input_spec=[specification], full_graph=True).forward.concrete_program
    block = program.main_program.global_block()
    names = [op.type if hasattr(op, "type") else op.name() for op in block.ops]
    return [name for name in names if name != "builtin.parameter"]


@pytest.mark.parametrize("name", OPTIONS)
def test_outputs_and_their_shapes(name):
    model = build_model(name, 5, **OPTIONS[name])
    assert model.output_names == NAMES[name]
    shapes = [list(output.shape) for output in model(image())]
    sizes = {"detail8": [1, 8, 12], "detail4": [1, 16, 24]}
    assert shapes == [[2, *sizes.get(output, [5, 64, 96])] for output in NAMES[name]]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_step_changes_every_head(name):
    model = build_model(name, 5, **OPTIONS[name])
    optimizer = paddle.optimizer.Momentum(0.1, parameters=model.parameters())
    before = {key: value.numpy().copy() for key, value in model.heads.named_parameters()}
    sum((output**2).mean() for output in model(image())).backward()
    optimizer.step()
    same = [key for key, value in model.heads.named_parameters() if np.array_equal(value.numpy(), before[key])]
    assert all(key.endswith("0.conv.bias") for key in same), same


@pytest.mark.parametrize("name", OPTIONS)
def test_the_deployed_network_is_the_plain_one(name):
    trained, plain = build_model(name, 5, **OPTIONS[name]), build_model(name, 5)
    only_trained = r"^heads\.(aux|backbone)"
    load_weights(plain, trained.state_dict(), leave_out=only_trained)
    trained.eval(), plain.eval()
    with paddle.no_grad():
        np.testing.assert_array_equal(trained(image())[0].numpy(), plain(image())[0].numpy())
    assert operators(trained) == operators(plain)


@pytest.mark.parametrize("name", OPTIONS)
def test_dropout_draws_in_training_alone(name):
    model = build_model(name, 5, dropout=0.5)
    for layer in model.sublayers():
        layer.training = False  # batch norm stays as it is; the network itself trains
    outputs = [model(image())[0].numpy() for _ in range(2)]
    assert not np.array_equal(*outputs)
    model.eval()
    outputs = [model(image())[0].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(("name", "twice"), [("stdc1_seg", ()), ("bisestdc", ("aux4",)), ("ddrnet23_slim", ())])
def test_heads_have_the_width_that_is_asked_for(name, twice):
    backbone_aux = {} if name == "ddrnet23_slim" else {"backbone_aux_strides": [32]}
    model = build_model(name, 5, head_channels=48, aux_channels=24, **backbone_aux)
    assert [list(output.shape[:2]) for output in model(image()) if output.shape[1] == 5] == [
        [2, 5] for output in model.output_names if not output.startswith("detail")
    ]
    for output, head in model.heads.items():
        if not output.startswith("detail"):
            classifier = head[1].conv if name == "ddrnet23_slim" else head.classifier
            wanted = 48 if output == "main" else 24 * (2 if output in twice else 1)
            assert list(classifier.weight.shape) == [5, wanted, 1, 1], output


def test_dropout_keeps_the_mean():
    """The values that stay are scaled up, so that the logits of many draws average to those without any."""
    paddle.seed(3)
    head = build_model("stdc1_seg", 3).heads["main"]
    head.eval()
    features = paddle.randn([1, 256, 4, 4])
    draws = np.mean([head(features, 0.5).numpy() for _ in range(300)], axis=0)
    np.testing.assert_allclose(draws, head(features).numpy(), atol=0.35)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detail_strides": [8, 3]}, "detail_strides: 3 is not one of 2, 4, 8, 16"),
        ({"aux_strides": [4]}, "aux_strides: 4 is not one of 8, 16"),
        ({"backbone_aux_strides": [64]}, "backbone_aux_strides: 64 is not one of 8, 16, 32"),
        ({"dropout": 1.0}, r"dropout: 1.0 is not in \[0, 1\)"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=f"model stdc1_seg: {message}"):
        build_model("stdc1_seg", 5, **options)
