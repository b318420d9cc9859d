"""Mixed precision: what is refused, and that level O2 reaches the network's own tensors."""

import sys
from types import SimpleNamespace

from compat import UserError, logger

import paddle
import pytest

from engine.parallel import Devices, running_statistics
from engine.resilience.divergence import LossGuard
from engine.training.ema import WeightAverage
from engine.training.precision import Precision, check_capability, check_update_kernel
from tests.helpers.tiny_training import TinyNetwork, tiny_recipe, train

GPU_KERNELS = {  # of the registry's wheel paddlepaddle-gpu 2.6.2
    "momentum": [f"(GPU, Undefined(AnyLayout), {dtype})" for dtype in ("float32", "float64", "float16")],
    "adamw": [f"(GPU, Undefined(AnyLayout), {dtype})" for dtype in ("float32", "float64", "float16", "bfloat16")],
}


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_mixed_precision_on_the_cpu_is_float32_and_says_so(level, sample_root, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(logger, "warning", lambda *words: said.append(words[0] % words[1:]))
    plain = train(tiny_recipe(sample_root, iters=2), save_dir=str(tmp_path / "fp32"))
    mixed = train(tiny_recipe(sample_root, iters=2, precision="fp16", amp_level=level), save_dir=str(tmp_path / "fp16"))
    for name, weight in plain.model.state_dict().items():
        assert (mixed.model.state_dict()[name].numpy() == weight.numpy()).all()
    assert said == ["precision fp16: Paddle has mixed precision on GPUs only; on the CPU this run is fp32"]


def test_unknown_precisions_are_refused():
    with pytest.raises(UserError, match="precision: 'fp8' is not one of fp32, fp16, bf16"):
        Precision("fp8")
    with pytest.raises(UserError, match="amp_level: 'O3' is not one of O1, O2"):
        Precision("bf16", "O3")


@pytest.mark.parametrize(
    ("name", "capability", "remedy"),
    [("fp16", (6, 1), "use fp32$"), ("bf16", (7, 5), "use fp16 or fp32$"), ("bf16", (6, 1), "use fp32$")],
)
def test_a_gpu_that_would_compute_in_float32_is_refused(name, capability, remedy):
    with pytest.raises(
        UserError, match=rf"precision: {name} needs .* this one has {capability[0]}.{capability[1]}; {remedy}"
    ):
        check_capability(name, capability)
    for capable in ((8, 0), (8, 6), (9, 0)):
        check_capability(name, capable)
    check_capability("fp16", (7, 0))


def test_weights_that_the_optimiser_cannot_update_are_refused():
    with pytest.raises(
        UserError, match="amp_level: O2 keeps .* bf16, which momentum .* use amp_level: O1, or precision: fp16"
    ):
        check_update_kernel("bf16", "momentum", GPU_KERNELS)
    check_update_kernel("fp16", "momentum", GPU_KERNELS)
    with pytest.raises(UserError, match="use amp_level: O1$"):
        check_update_kernel("fp16", "momentum", {"momentum": ["(GPU, Undefined(AnyLayout), bfloat16)"]})
    check_update_kernel("bf16", "adamw", GPU_KERNELS)
    on_cpu = paddle.base.core._get_registered_phi_kernels("all")
    assert all(key.startswith("(CPU,") for key in on_cpu["momentum"]) or paddle.is_compiled_with_cuda()


def test_a_run_asks_before_it_computes(monkeypatch):
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (8, 6))
    monkeypatch.setattr(paddle.base.core, "_get_registered_phi_kernels", lambda kind: GPU_KERNELS)
    assert Precision("bf16").dtype == "bfloat16" and Precision("bf16", "O2", "adamw").level == "O2"
    with pytest.raises(UserError, match="amp_level: O2"):
        Precision("bf16", "O2")
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (7, 5))
    with pytest.raises(UserError, match="precision: bf16 needs"):
        Precision("bf16")


@pytest.fixture
def decorated():
    """A network with the hook that amp.decorate(save_dtype="float32") gives it on a GPU: its state dict is a copy."""
    model = TinyNetwork()
    hook = sys.modules["paddle.amp.auto_cast"].StateDictHook("float32")
    for layer in model.sublayers(include_self=True):
        layer.register_state_dict_hook(hook)
    assert model.state_dict()["features.1._mean"] is not model.features[1]._mean
    return model


def test_statistics_are_the_networks_own_at_level_o2(decorated):
    assert [id(tensor) for tensor in running_statistics(decorated)] == [
        id(decorated.features[1]._mean),
        id(decorated.features[1]._variance),
    ]


def test_an_iteration_is_undone_at_level_o2(decorated, tmp_path):
    read = SimpleNamespace(images=[0], labels=[0], files=["a.png"])
    guard = LossGuard("skip", 1, 1, lambda number: read, tmp_path, Devices(0, 1))
    guard.begin_iteration(decorated)
    before = decorated.features[1]._mean.numpy().copy()
    decorated(paddle.ones([1, 3, 8, 8]))
    assert (decorated.features[1]._mean.numpy() != before).any()
    assert not guard.accepts(0, {"loss": paddle.to_tensor(float("nan"))})
    guard.undo()
    assert (decorated.features[1]._mean.numpy() == before).all()


def test_the_average_follows_the_weights_at_level_o2(decorated):
    average = WeightAverage(decorated, 0.5)
    decorated.head.bias.set_value(paddle.full([19], 2.0))
    average.update(100)
    with average.applied():
        assert decorated.head.bias.numpy()[0] == 1.0
    assert decorated.head.bias.numpy()[0] == 2.0
