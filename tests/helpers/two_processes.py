"""The program of each of two processes, started by tests/engine/test_parallel.py through Paddle's launcher.

python -m paddle.distributed.launch --nproc_per_node 2 tests/helpers/two_processes.py WHAT SAMPLE FOLDER
"""

import os
import signal
import sys
from pathlib import Path
from typing import Callable

import compat  # noqa: F401  it must come before paddle

import numpy as np
import paddle
from paddle import nn

from engine.command import run
from engine.parallel import (
    Devices,
    any_device,
    join_devices,
    replicate,
    shard,
    share_statistics,
    sum_over_devices,
    without_exchange,
)
from engine.training.gradients import add_gradients
from engine.training.trainer import RunOptions, Trainer
from loss import build_criterion
from tests.helpers.tiny_training import TinyNetwork, tiny_network, tiny_recipe
from tests.helpers.zero_networks import zero_networks

LOSSES = {
    "cross_entropy": {"main": {"type": "CrossEntropyLoss"}},
    "ohem": {"main": {"type": "OhemCrossEntropyLoss", "thresh": 0.02, "n_min": 0.25}},
}


class Pixels(nn.Layer):
    """Two convolutions, no batch norm."""

    output_names = ("main",)

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2D(3, 8, 3, padding=1)
        self.second = nn.Conv2D(8, 19, 1)

    def forward(self, image):
        return [self.second(nn.functional.relu(self.first(image)))]


def batch_of_four():
    """images [4, 3, 8, 6], labels [4, 8, 6]; the images differ in how hard they are."""
    generator = np.random.default_rng(0)
    images = generator.normal(0, 1, (4, 3, 8, 6)) * np.array([0.1, 1, 3, 6])[:, None, None, None]
    return images.astype("float32"), generator.integers(0, 19, (4, 8, 6)).astype("uint8")


def gradients_of(model, loss, batches, share=1.0, replica=None):
    """Gradients of the sum of the batches' losses, each times `share`; exchanged with the last one."""
    criterion = build_criterion(LOSSES[loss], model.output_names)
    replica = replica or model
    for number, (images, labels) in enumerate(batches):
        if number < len(batches) - 1:
            with without_exchange(replica):
                add_gradients(replica, criterion, paddle.to_tensor(images), paddle.to_tensor(labels), share)
        else:
            add_gradients(replica, criterion, paddle.to_tensor(images), paddle.to_tensor(labels), share)
    found = [parameter.grad.numpy() for parameter in model.parameters()]
    model.clear_gradients()
    return found


def network():
    paddle.seed(3)
    return Pixels()


def gradients(devices: Devices, folder: Path) -> None:
    images, labels = batch_of_four()
    own = slice(2 * devices.rank, 2 * devices.rank + 2)
    images, labels = images[own], labels[own]
    found = {}
    for loss in LOSSES:
        model = network()
        replica = replicate(model, devices)
        found[loss] = gradients_of(model, loss, [(images, labels)], replica=replica)
        singles = [(images[i : i + 1], labels[i : i + 1]) for i in range(2)]
        found[f"{loss}_accumulated"] = gradients_of(model, loss, singles, 1 / 2, replica)
    arrays = {f"{name}/{i}": value for name, values in found.items() for i, value in enumerate(values)}
    np.savez(folder / f"gradients_{devices.rank}.npz", **arrays)


def evaluation(devices: Devices, sample: Path, folder: Path) -> None:
    from engine.build import dataset_of
    from engine.evaluation.evaluator import evaluate

    recipe = tiny_recipe(sample)
    dataset = dataset_of(recipe.val_dataset)
    paddle.seed(3)
    scores = evaluate(TinyNetwork(), dataset, recipe.test_config["full"], indices=shard(len(dataset), devices))
    scores = scores.summed(lambda sums: sum_over_devices(sums, devices))
    norm = nn.BatchNorm2D(2)
    norm(paddle.full([1, 2, 4, 4], float(devices.rank + 1)))
    share_statistics(norm, devices)
    found = {"confusion": scores.confusion, "images": scores.images, "means": norm._mean.numpy()}
    found["flags"] = [any_device(flag, devices) for flag in (devices.rank == 1, devices.rank == 0, False)]
    np.savez(folder / f"areas_{devices.rank}.npz", **found)


class Dying(Trainer):
    """The second device's process is killed in iteration 4."""

    def _train_batch(self, number, images, labels):
        if self.devices.rank == 1 and self.iteration == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._train_batch(number, images, labels)


class Interrupted(Trainer):
    """Both processes get SIGTERM in iteration 4."""

    def _train_batch(self, number, images, labels):
        if number == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return super()._train_batch(number, images, labels)


def training(kind: Callable[..., Trainer], sample: Path, folder: Path) -> None:
    """Train the tiny network, from the newest checkpoint if there is one."""
    options = RunOptions(save_dir=str(folder), validate=False, resume_model="auto")
    with tiny_network():
        kind(tiny_recipe(sample, save_interval=2), options).fit()


def commands(sample: Path, folder: Path) -> None:
    """The commands that share their work, with `folder/weights.pdparams`."""
    import tool.evaluate
    import tool.predict
    import tool.prepare_data

    recipe = ["--config", "configs/stdc1_seg_sample.yml", "--dataset_root", str(sample)]
    recipe += ["--model_path", str(folder / "weights.pdparams")]
    with zero_networks():
        flags = ["--json", folder / "scores.json", "--report", folder / "report", "--boundary_widths", 3]
        tool.evaluate.main([*recipe, *map(str, flags)])
        tool.predict.main([*recipe, "--save_dir", str(folder / "pictures"), "--results", "pseudo_color_prediction"])
        images = str(sample / "leftImg8bit" / "val")
        tool.predict.main([*recipe, "--image_path", images, "--cityscapes_submission", str(folder / "maps.zip")])
    tool.prepare_data.main(["cache", "--dataset_root", str(sample), "--cache_dir", str(folder / "cache")])


def main(_argv=None) -> None:
    what, sample, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if what in TRAINERS:
        training(TRAINERS[what], sample, folder)
        return
    devices = join_devices()
    gradients(devices, folder)
    evaluation(devices, sample, folder)
    if what == "hosts":
        training(Trainer, sample, folder / "whole")
        commands(sample, folder)


TRAINERS = {"death": Dying, "signal": Interrupted, "training": Trainer}

if __name__ == "__main__":
    run(main)
