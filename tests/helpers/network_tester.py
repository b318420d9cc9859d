"""One set of checks that every network of `list_models()` must pass, on 64x64 images and on an odd size.

Each `check_...(name)` asserts one property; tests/models/test_models.py runs all of them for all names.
"""

import math
import re
from functools import lru_cache
from typing import Dict, Tuple

import numpy as np
import paddle
import pytest
from paddle import nn

from models import UserError, build_model
from models.weights import load_weights

CLASSES = 5
SEED = 1
SIZES = ((64, 64), (65, 97))  # (height, width)

STDC_OUTPUTS = {"main": 1, "aux8": 1, "aux16": 1, "detail8": 8}
BISESTDC_OUTPUTS = {"main": 1, "aux4": 1, "aux8": 1, "aux16": 1, "detail4": 4}
DDRNET_OUTPUTS = {"main": 1, "aux8": 1}

# Training outputs in order, with the stride of what is returned; 0 for a vector without height and width.
OUTPUTS: Dict[str, Dict[str, int]] = {
    "stdc1": {"main": 0},
    "stdc2": {"main": 0},
    "stdc1_seg": STDC_OUTPUTS,
    "stdc2_seg": STDC_OUTPUTS,
    "bisestdc": BISESTDC_OUTPUTS,
    "bisestdc2": BISESTDC_OUTPUTS,
    "ddrnet23_slim": DDRNET_OUTPUTS,
    "ddrnet23": DDRNET_OUTPUTS,
}

# Convolutions whose initial standard deviation is sqrt(2 / fan out); sqrt(1 / fan in) elsewhere.
FAN_OUT = r"^(backbone|conv_last|spatial_path|dappm)\."
DDRNET_BIASES = r"^(backbone\.stem\.[01]\.conv|heads\.\w+\.1\.conv)\.bias$"


def check_training_outputs(name: str) -> None:
    """In training: the named outputs in order, logits at the image's size, detail at its stride, all finite float32."""
    model = build_model(name, CLASSES)
    assert model.training
    assert model.output_names == tuple(OUTPUTS[name])
    for size in SIZES:
        outputs = model(_image(size))
        assert isinstance(outputs, list)
        assert [list(output.shape) for output in outputs] == [
            _shape(output, stride, size) for output, stride in OUTPUTS[name].items()
        ]
        for output in outputs:
            assert output.dtype == paddle.float32
            assert np.isfinite(output.numpy()).all()


def check_evaluation_output(name: str) -> None:
    """In evaluation: the main output alone, and no other head is computed."""
    model = build_model(name, CLASSES)
    model.eval()
    called = []
    for head, layer in getattr(model, "heads", {}).items():
        layer.register_forward_post_hook(lambda *_, head=head: called.append(head))
    for size in SIZES:
        called.clear()
        with paddle.no_grad():
            outputs = model(_image(size))
        assert isinstance(outputs, list)
        assert [list(output.shape) for output in outputs] == [_shape("main", OUTPUTS[name]["main"], size)]
        assert called == (["main"] if hasattr(model, "heads") else [])


def check_only_outermost_layer_asks_for_training(name: str) -> None:
    """With batch norm and dropout in evaluation, training mode of the network alone adds outputs and changes none."""
    model = build_model(name, CLASSES)
    model.eval()
    image = _image(SIZES[1])
    with paddle.no_grad():
        deployed = model(image)[0].numpy()
        model.training = True
        trained = model(image)
    assert len(trained) == len(OUTPUTS[name])
    np.testing.assert_array_equal(trained[0].numpy(), deployed)


def check_outputs_come_from_the_heads_of_their_names(name: str) -> None:
    """Each training output is what the head of its name returns; ImageNet classifiers have one layer instead."""
    model = build_model(name, CLASSES)
    heads = dict(model.heads.items()) if hasattr(model, "heads") else {"main": model.classifier}
    assert sorted(heads) == sorted(model.output_names)
    for position, output in enumerate(model.output_names, start=1):
        heads[output].register_forward_post_hook(lambda *call, c=float(position): paddle.full_like(call[2], c))
    for position, output in enumerate(model(_image(SIZES[1])), start=1):
        np.testing.assert_allclose(output.numpy(), position, rtol=1e-6)


def check_training_step(name: str) -> None:
    """Every trained parameter gets a finite gradient; a step changes the stem and every head."""
    model = build_model(name, CLASSES)
    optimizer = paddle.optimizer.Momentum(0.1, parameters=model.parameters())
    before = {key: tensor.numpy().copy() for key, tensor in model.named_parameters()}
    sum((output**2).mean() for output in model(_image(SIZES[0], images=4))).backward()
    gradients = {key: tensor.grad for key, tensor in model.named_parameters() if tensor.trainable}
    without = [key for key, gradient in gradients.items() if gradient is None]
    assert not without, f"no gradient: {without}"
    infinite = [key for key, gradient in gradients.items() if not np.isfinite(gradient.numpy()).all()]
    assert not infinite, f"gradient not finite: {infinite}"
    optimizer.step()
    changed = {key for key, tensor in model.named_parameters() if (tensor.numpy() != before[key]).any()}
    must_change = [key for key in gradients if re.search(r"^backbone\.st(em|ages)\.0\.|^heads\.|^classifier\.", key)]
    must_change = [key for key in must_change if not re.search(DDRNET_BIASES, key) or key.startswith("heads.")]
    assert len(must_change) > 3
    assert not set(must_change) - changed, f"unchanged: {sorted(set(must_change) - changed)}"


def check_batch_norm(name: str) -> None:
    """eps 1e-5, momentum 0.9 (torch's 0.1), weights 1 and biases 0."""
    norms = [layer for layer in _untouched(name).sublayers() if isinstance(layer, nn.BatchNorm2D)]
    assert norms
    for norm in norms:
        assert (norm._epsilon, norm._momentum) == (1e-5, 0.9)
        assert (norm.weight.numpy() == 1).all()
        assert (norm.bias.numpy() == 0).all()


def check_biases(name: str) -> None:
    """No convolution or linear layer has a bias, except DDRNet's stem and its heads' last layers."""
    biases = [
        f"{key}.bias"
        for key, layer in _untouched(name).named_sublayers()
        if isinstance(layer, (nn.Conv2D, nn.Linear)) and layer.bias is not None
    ]
    if name.startswith("ddrnet"):
        assert len(biases) == 4
        assert all(re.search(DDRNET_BIASES, key) for key in biases)
    else:
        assert biases == []


def check_seed_decides(name: str) -> None:
    """The same seed gives the same weights, another seed others."""
    first, again, other = (_weights(model) for model in (_untouched(name), _seeded(name, SEED), _seeded(name, 2)))
    assert first.keys() == again.keys() == other.keys()
    assert all((first[key] == again[key]).all() for key in first)
    assert all((first[key] != other[key]).any() for key in first if first[key].ndim == 4)


def check_initial_weights(name: str) -> None:
    """Kaiming normal: fan out in backbones and all of DDRNet, fan in with a = 1 in decoders; 0.001 in linear layers."""
    checked = 0
    for key, weight in _weights(_untouched(name)).items():
        if weight.ndim < 2 or weight.size < 4000:  # too few numbers to know their deviation
            continue
        if weight.ndim == 2:
            expected = 0.001
        elif name.startswith("ddrnet") or re.search(FAN_OUT, key):
            expected = math.sqrt(2 / (weight.shape[0] * weight.shape[2] * weight.shape[3]))
        else:
            expected = math.sqrt(1 / math.prod(weight.shape[1:]))
        assert abs(weight.std() / expected - 1) < 0.06, key
        assert abs(weight.mean()) < 0.06 * expected, key
        checked += 1
    assert checked > 10


def check_weights_load_strictly(name: str) -> None:
    """Weights come back as they were saved; anything missing, unexpected or of another shape stops, and says which."""
    source, model = _seeded(name, 4), _seeded(name, 5)
    state = dict(source.state_dict())
    key = next(key for key in state if key.endswith("conv.weight"))
    unfit = {
        "missing": {other: tensor for other, tensor in state.items() if other != key},
        "unexpected": {**state, "surplus.weight": paddle.zeros([1])},
        "of another shape": {**state, key: paddle.zeros([1, 2, 3, 4])},
    }
    before = _weights(model)
    for kind, weights in unfit.items():
        named = "surplus.weight" if kind == "unexpected" else key
        with pytest.raises(UserError, match=rf"1 {kind} \({re.escape(named)}"):
            load_weights(model, weights)
    assert all((tensor == before[other]).all() for other, tensor in _weights(model).items())
    assert load_weights(model, unfit["of another shape"], leave_out=f"^{re.escape(key)}$") == len(state) - 1
    assert (_weights(model)[key] == before[key]).all()
    assert load_weights(model, state) == len(state)
    wanted = _weights(source)
    assert all((tensor == wanted[other]).all() for other, tensor in _weights(model).items())


def check_static_graph(name: str) -> None:
    """The deployed network returns the same as a static graph, which is what is exported."""
    model = _seeded(name, 6)
    model.eval()
    image = _image(SIZES[1])
    specification = paddle.static.InputSpec(image.shape, "float32")
    with paddle.no_grad():
        eager = [output.numpy() for output in model(image)]
        # The whole graph, as paddle.jit.save makes it.
        static = paddle.jit.to_static(model, input_spec=[specification], full_graph=True)(image)
    assert len(static) == len(eager) == 1
    np.testing.assert_allclose(static[0].numpy(), eager[0], rtol=0, atol=1e-5 * abs(eager[0]).max())


def _image(size: Tuple[int, int], images: int = 2) -> paddle.Tensor:
    pixels = np.random.default_rng(0).normal(0, 1, (images, 3, *size))
    return paddle.to_tensor(pixels.astype("float32"))


def _shape(output: str, stride: int, size: Tuple[int, int], images: int = 2) -> list:
    channels = 1 if output.startswith("detail") else CLASSES
    return [images, channels, *(math.ceil(side / stride) for side in size if stride)]


def _seeded(name: str, seed: int) -> nn.Layer:
    paddle.seed(seed)
    return build_model(name, CLASSES)


@lru_cache(maxsize=1)
def _untouched(name: str) -> nn.Layer:
    """A network just built with SEED, shared by the checks that only look at it."""
    return _seeded(name, SEED)


def _weights(model: nn.Layer) -> Dict[str, np.ndarray]:
    return {key: tensor.numpy().copy() for key, tensor in model.state_dict().items()}


CHECKS = [check for title, check in list(globals().items()) if title.startswith("check_")]
