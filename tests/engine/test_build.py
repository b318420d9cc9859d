"""Which of CUDA's kernels a run takes; on a Paddle without CUDA the calls are recorded."""

from compat import UserError

import paddle
import pytest

from engine.build import choose_gpu_kernels, network_of, seed_everything
from models import build_model, layers
from tests.helpers.tiny_training import tiny_recipe


@pytest.fixture
def chosen(monkeypatch):
    """What Paddle would be told."""
    found = {}
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle, "set_flags", found.update)
    for library in ("cublas", "cudnn"):
        name = f"set_{library}_switch"
        monkeypatch.setattr(paddle.base.core, name, lambda on, name=name: found.update({name: on}), raising=False)
    return found


@pytest.mark.parametrize(("exhaustive", "tf32", "deterministic"), [(True, False, False), (False, True, True)])
def test_recipe_keys_reach_paddle(exhaustive, tf32, deterministic, chosen, sample_root):
    choose_gpu_kernels(tiny_recipe(sample_root, cudnn_exhaustive_search=exhaustive, tf32=tf32), deterministic)
    assert chosen == {
        "FLAGS_cudnn_deterministic": deterministic,
        "FLAGS_cudnn_exhaustive_search": exhaustive,
        "set_cublas_switch": tf32,
        "set_cudnn_switch": tf32,
    }


def test_deterministic_kernels_are_not_chosen_by_timing(sample_root):
    with pytest.raises(UserError, match="--deterministic: cudnn_exhaustive_search chooses by timing"):
        choose_gpu_kernels(tiny_recipe(sample_root, cudnn_exhaustive_search=True), deterministic=True)


def test_a_recipe_names_weights_by_the_folder_of_a_checkpoint(small_recipe, tmp_path):
    weights = build_model("stdc1_seg", 19).state_dict()
    paddle.save(weights, str(tmp_path / "model.pdparams"))
    network = network_of(small_recipe(model__pretrained=str(tmp_path)), 19)
    assert all((tensor == weights[name]).all() for name, tensor in network.state_dict().items())


def test_deterministic_runs_resize_by_matrices():
    seed_everything(0, deterministic=True)
    assert layers._deterministic
    seed_everything(0, deterministic=False)
    assert not layers._deterministic
