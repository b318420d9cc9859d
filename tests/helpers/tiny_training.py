"""A training run of a second, with a tiny network that has random numbers (dropout) and state (batch norm)."""

import contextlib
import faulthandler
import os
import sys
from pathlib import Path
from typing import Callable, Iterator

import compat  # noqa: F401  it must come before paddle

import pytest
from paddle import nn

import engine.training.trainer
from engine.recipe import Recipe, load_recipe
from engine.training.trainer import RunOptions, Trainer


class TinyNetwork(nn.Layer):
    """A convolution, batch norm, dropout, and a classifier of each pixel."""

    output_names = ("main",)

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2D(3, 4, 3, padding=1), nn.BatchNorm2D(4), nn.ReLU(), nn.Dropout2D(0.3))
        self.head = nn.Conv2D(4, 19, 1)

    def forward(self, image):
        return [self.head(self.features(image))]


class RecordedTrainer(Trainer):
    """Keeps the losses, writes no checkpoint."""

    def _train_batch(self, *batch):
        losses = super()._train_batch(*batch)
        self.losses = [*getattr(self, "losses", []), float(losses["loss"])]
        return losses

    def _save(self, *_):
        pass


@contextlib.contextmanager
def tiny_network(kind: Callable[[], nn.Layer] = TinyNetwork) -> Iterator[None]:
    """Make the trainer build a network of that kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.training.trainer, "network_of", lambda recipe, num_classes, weights=True: kind())
        yield


def tiny_recipe(sample_root: Path, **overrides) -> Recipe:
    """8 iterations of two batches of one image of 32 x 32, validated and saved every third one and at the last."""
    return load_recipe(
        "configs/stdc1_seg_sample.yml",
        {
            "train_dataset.dataset_root": str(sample_root),
            "val_dataset.dataset_root": str(sample_root),
            "train_dataset.transforms.RandomPaddingCrop.crop_size": [32, 32],
            "loss": {"main": {"type": "CrossEntropyLoss"}},
            "batch_size": 1,
            "accumulate": 2,
            "ema_decay": 0.5,
            "iters": 8,
            "save_interval": 3,
            "log_iters": 2,
            "lr_scheduler.warmup_iters": 2,
            "test_config.full.scales": 0.25,
            **{key.replace("__", "."): value for key, value in overrides.items()},
        },
    )


def run_in_fork(work: Callable[[], None], timeout: int = 20) -> int:
    """Run `work` in a forked process and return its exit status, which is -N if signal N killed it.

    The caller needs OMP_NUM_THREADS=1: the threads that computed in the parent are missing in the fork.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    faulthandler.dump_traceback_later(timeout, exit=True)
    status = 1
    try:
        work()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def train(recipe: Recipe, **options) -> Trainer:
    """Train the tiny network to the end."""
    with tiny_network():
        trainer = Trainer(recipe, RunOptions(seed=5, **options))
        trainer.fit()
    return trainer
