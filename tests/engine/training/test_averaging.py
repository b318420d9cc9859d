"""The mean of several networks' weights, and batch norm's statistics measured for it."""

from compat import UserError

import numpy as np
import paddle
import pytest
from paddle import nn

from engine.training.averaging import mean_weights, measure_statistics
from models.weights import read_weights
from tests.helpers.tiny_training import TinyNetwork
from tool import average


def networks(count):
    found = []
    for seed in range(count):
        paddle.seed(seed)
        found.append(TinyNetwork())
    return found


def test_the_mean_of_each_tensor():
    states = {f"run{i}": network.state_dict() for i, network in enumerate(networks(3))}
    mean = mean_weights(states)
    for name, tensor in mean.items():
        expected = np.mean([state[name].numpy().astype("float64") for state in states.values()], axis=0)
        assert tensor.dtype == states["run0"][name].dtype
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6)


def test_what_does_not_belong_together_is_named():
    one, two = (dict(network.state_dict()) for network in networks(2))
    with pytest.raises(UserError, match="b is of another network than a: head.bias is nothing there"):
        mean_weights({"a": one, "b": {name: tensor for name, tensor in two.items() if name != "head.bias"}})
    with pytest.raises(UserError, match=r"b is of another network than a: head.bias is \[3\] there, and \[19\] here"):
        mean_weights({"a": one, "b": {**two, "head.bias": paddle.zeros([3])}})
    with pytest.raises(UserError, match="c holds the same weights as a"):
        mean_weights({"a": one, "b": two, "c": dict(one)})
    with pytest.raises(UserError, match="two checkpoints or more"):
        mean_weights({"a": one})


def test_statistics_are_the_averages_over_the_batches():
    (network,) = networks(1)
    norm = network.features[1]
    batches = [paddle.randn([2, 3, 8, 8]) + shift for shift in (0.0, 1.0, 5.0)]
    seen = []
    network.features[0].register_forward_post_hook(lambda *call: seen.append(call[2].numpy()))
    before = {name: value.numpy().copy() for name, value in network.named_parameters() if value.trainable}
    network.eval()
    assert measure_statistics(network, batches) == 3
    assert not network.training and not norm.training and norm._momentum == nn.BatchNorm2D(4)._momentum
    means, variances = (np.mean([f(x, axis=(0, 2, 3)) for x in seen], axis=0) for f in (np.mean, np.var))
    np.testing.assert_allclose(norm._mean.numpy(), means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm._variance.numpy(), variances, rtol=1e-4)
    for name, value in before.items():
        np.testing.assert_array_equal(network.state_dict()[name].numpy(), value)


def test_the_command_averages_and_measures(sample_root, tmp_path, monkeypatch):
    monkeypatch.setattr(average, "network_of", lambda *_, **__: TinyNetwork())
    states = [network.state_dict() for network in networks(2)]
    for number, state in enumerate(states):
        paddle.save(state, str(tmp_path / f"{number}.pdparams"))
    paths = [str(tmp_path / f"{number}.pdparams") for number in range(2)]
    options = ["--opts", "batch_size=2", "train_dataset.transforms.RandomPaddingCrop.crop_size=[32, 32]"]
    average.main(
        ["--config", "configs/stdc1_seg_sample.yml", "--dataset_root", str(sample_root), "--model_paths", *paths,
         "--save_dir", str(tmp_path / "mean"), "--batches", "3", *options]
    )  # fmt: skip
    written = read_weights(tmp_path / "mean" / "model.pdparams")
    mean = mean_weights(dict(enumerate(states)))
    for name, tensor in mean.items():
        same = np.allclose(written[name].numpy(), tensor.numpy(), rtol=1e-6)
        assert same != name.endswith(("_mean", "_variance")), name
    sources = sorted(tmp_path.iterdir())
    for folder, word in ((tmp_path, "0.pdparams"), (sample_root, "gtFine")):
        with pytest.raises(UserError, match=f"is replaced as a whole, but holds {word}"):
            average.main(["--config", "x", "--model_paths", *paths, "--save_dir", str(folder)])
    mean = str(tmp_path / "mean")
    for source in (mean, f"{mean}/model.pdparams"):
        with pytest.raises(UserError, match=f"holds {source}, which is read"):
            average.main(["--config", "x", "--model_paths", source, paths[0], "--save_dir", mean])
    assert sorted(tmp_path.iterdir()) == sources and (sample_root / "leftImg8bit").is_dir()
    for wrong in (["--batches", "0"], ["--seed", "-1"]):
        with pytest.raises(SystemExit) as refused:
            average.main(["--config", "x", "--model_paths", "a", "b", "--save_dir", str(tmp_path), *wrong])
        assert refused.value.code == 2
