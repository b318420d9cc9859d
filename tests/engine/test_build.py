"""What a recipe builds: datasets, weights, and CUDA's kernels, whose calls are recorded on a Paddle without CUDA."""

from compat import UserError

import paddle
import paddle.nn.functional as F
import pytest

from engine.build import choose_gpu_kernels, network_of, seed_draws, seed_everything, training_datasets
from models import build_model, layers
from tests.helpers.fake_gpu import fake_gpu
from tests.helpers.tiny_training import tiny_recipe, train


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


def test_datasets_that_do_not_fit_each_other(sample_root, tmp_path):
    train_set, val_set = training_datasets(tiny_recipe(sample_root), True)
    assert len(train_set) > len(val_set) > 0
    assert training_datasets(tiny_recipe(sample_root), False)[1] is None
    brighter = [{"type": "Normalize", "mean": [0.4, 0.4, 0.4]}]
    with pytest.raises(
        UserError, match="train_dataset.transforms.Normalize has mean .*0.5.* that of val_dataset .*0.4"
    ):
        training_datasets(tiny_recipe(sample_root, val_dataset__transforms=brighter), True)
    image, label = (str(path) for path in val_set.file_list[0])
    (tmp_path / "val.txt").write_text(f"{image} {label}\n")
    five = {"type": "Dataset", "num_classes": 5, "val_path": str(tmp_path / "val.txt")}
    with pytest.raises(UserError, match="train_dataset has 19 classes, val_dataset 5"):
        training_datasets(
            tiny_recipe(sample_root, **{f"val_dataset__{key}": value for key, value in five.items()}), True
        )


def test_images_without_labels_are_refused_before_the_training(sample_root, tmp_path):
    """The first validation refused them, and the iterations before it were lost."""
    image = training_datasets(tiny_recipe(sample_root), False)[0].file_list[0][0]
    (tmp_path / "test.txt").write_text(f"{image}\n")
    unlabelled = {"type": "Dataset", "mode": "test", "num_classes": 19, "test_path": str(tmp_path / "test.txt")}
    recipe = tiny_recipe(sample_root, **{f"val_dataset__{key}": value for key, value in unlabelled.items()})
    with pytest.raises(UserError, match="has no label to evaluate against"):
        training_datasets(recipe, True)
    assert training_datasets(recipe, False)[1] is None


def test_a_run_may_be_validated_on_its_training_split(sample_root, tmp_path):
    """It ended in a traceback when the first validation drew its pictures."""
    train(tiny_recipe(sample_root, val_dataset__mode="train", iters=1), save_dir=tmp_path)
    assert (tmp_path / "pictures" / "iter_1.png").is_file()


def test_a_recipe_names_weights_by_the_folder_of_a_checkpoint(small_recipe, tmp_path):
    weights = build_model("stdc1_seg", 19).state_dict()
    paddle.save(weights, str(tmp_path / "model.pdparams"))
    network = network_of(small_recipe(model__pretrained=str(tmp_path)), 19)
    assert all((tensor == weights[name]).all() for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_runs_do_without_paddles_gradient_of_resizing(deterministic, monkeypatch):
    """It sums in a varying order on a GPU; tests/models/test_layers.py has the networks."""
    with_gradient = []
    interpolate = F.interpolate
    monkeypatch.setattr(
        F, "interpolate", lambda x, **how: with_gradient.append(not x.stop_gradient) or interpolate(x, **how)
    )
    image = paddle.ones([1, 1, 2, 2])
    image.stop_gradient = False
    seed_everything(0, deterministic)
    try:
        with fake_gpu():
            layers.resize(image, [4, 4], "bilinear", align_corners=False)
    finally:
        seed_everything(0, deterministic=False)
    assert with_gradient and any(with_gradient) != deterministic


def test_dropout_draws_anew_in_each_iteration_and_on_each_device():
    def drawn(*key):
        seed_draws(*key)
        return tuple(paddle.rand([4]).tolist())

    keys = [(seed, iteration, rank) for seed in (0, 1) for iteration in (0, 1, 2) for rank in (0, 1)]
    draws = [drawn(*key) for key in keys]
    assert len(set(draws)) == len(keys) and [drawn(*key) for key in keys] == draws


def test_a_run_draws_for_each_of_its_iterations(sample_root, tmp_path, monkeypatch):
    keys = []
    monkeypatch.setattr("engine.training.trainer.seed_draws", lambda *key: keys.append(key))
    train(tiny_recipe(sample_root, iters=3), save_dir=str(tmp_path), validate=False)
    assert keys == [(5, 0, 0), (5, 1, 0), (5, 2, 0), (5, 3, 0)]
