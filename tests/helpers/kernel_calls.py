"""Logs the kernels that the recipes call: a tiny run of each kind of recipe on the code path of a GPU.

python tests/helpers/kernel_calls.py SAMPLE FOLDER    (in a process of its own, with the environment LOGGED)
"""

import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any, Iterable, List, NamedTuple, Set, Tuple

import compat  # noqa: F401  it must come before paddle

from paddle import nn

import tool.predict
from engine.recipe import Recipe, load_recipe
from engine.training.trainer import RunOptions, Trainer
from loss.criterion import DETAIL_LOSSES, LOSSES
from tests.helpers.fake_gpu import fake_gpu

ROOT = Path(__file__).parents[2]
LOGGED = {"GLOG_vmodule": "api=6,backward_api=6,dygraph_api=6", "OMP_NUM_THREADS": "1"}
PART, COMPLETE = "== part ", "== complete"
KEY = re.compile(r"\] \w+ API kernel key: \[\w+, [^,]+, ([\w:]+)\]")
KERNEL = re.compile(r"\] (\w+) kernel: \{")
PROTOCOLS = {
    "scales": {"scales": [0.5, 1.0], "flip_horizontal": True},
    "slide": {"aug_eval": True, "scales": 1.0, "is_slide": True, "crop_size": [64, 32], "stride": [32, 32]},
}


class Call(NamedTuple):
    """A kernel, the type that it was chosen by, and the part that called it: network, losses, update or other."""

    kernel: str
    dtype: str
    part: str


def parse_log(lines: Iterable[str]) -> Set[Call]:
    """The calls that a log of LOGGED holds."""
    calls, dtype, part = set(), "", "other"
    for line in lines:
        if PART in line:
            part = line.partition(PART)[2].strip()
        elif key := KEY.search(line):
            dtype = key.group(1)
        elif kernel := KERNEL.search(line):
            calls.add(Call(kernel.group(1), dtype, part))
    return calls


def representative_recipes() -> List[Path]:
    """Recipes that together cover every network family, option, loss, switch of a loss, and optimiser."""
    files = [file for folder in ("", "official", "best") for file in (ROOT / "configs" / folder).glob("*.yml")]
    chosen, covered = [], set()
    smallest_first = sorted(files, key=lambda file: ("slim" not in file.name, len(file.name), str(file)))
    for file in smallest_first:
        features = _features(load_recipe(file))
        if not features <= covered:
            chosen.append(file)
            covered |= features
    return chosen


def _features(recipe: Recipe) -> Set[Tuple]:
    """The properties of a recipe that determine which kernels it calls."""
    family = re.match("[a-z]+", recipe.model.type).group()
    found = {(family,), ("optimizer", recipe.optimizer.type), *((family, option) for option in recipe.model.options)}
    for term in (term for terms in recipe.loss.values() for term in terms):
        options = term.model_dump(exclude_unset=True)
        found |= {(term.type, key, value) for key, value in options.items() if isinstance(value, bool)}
        found |= {(term.type, key) for key, value in options.items()}
    return found


def tiny(file: Path, sample: Path, **further: Any) -> Recipe:
    """One iteration of two images of 64 x 64 by that recipe, and a validation by every sort of protocol."""
    overrides = {f"{split}_dataset.dataset_root": str(sample) for split in ("train", "val")}
    overrides.update({f"{split}_dataset.type": "Cityscapes" for split in ("train", "val")})
    overrides.update(
        {
            "train_dataset.transforms.RandomPaddingCrop.crop_size": [64, 64],
            "batch_size": 2, "accumulate": 1, "total_batch_size": 2, "iters": 1, "save_interval": 1, "log_iters": 1,
            "ema_decay": 0.9, "model.pretrained": None, "model.backbone.pretrained": None,
            "test_config": PROTOCOLS,
            **further,
        }
    )  # fmt: skip
    return load_recipe(file, overrides)


def write(line: str) -> None:
    """A line into the log."""
    os.write(2, f"{line}\n".encode())


def part_of(layer: nn.Layer, part: str) -> None:
    """Mark in the log what the layer's forward passes call."""
    layer.register_forward_pre_hook(lambda *_: write(PART + part))
    layer.register_forward_post_hook(lambda *_: write(PART + "other"))


def record(sample: Path, folder: Path) -> None:
    """Train and validate the representative recipes and one with every other loss; predict with the last one."""
    files = representative_recipes()
    terms = [{"type": loss} for loss in LOSSES if loss not in DETAIL_LOSSES]
    beside = tiny(files[0], sample, optimizer={"type": "AdamW"}, loss={"main": terms, "aux8": terms})
    for number, recipe in enumerate([beside, *(tiny(file, sample) for file in files)]):
        save_dir = folder / str(number)
        trainer = Trainer(
            recipe, RunOptions(save_dir=str(save_dir), num_workers=0, on_nan=("stop", "skip")[number % 2])
        )
        part_of(trainer.model, "network")
        part_of(trainer.criterion, "losses")
        step = trainer.optimizer.step

        def marked_step(step=step):
            write(PART + "update")
            step()
            write(PART + "other")

        trainer.optimizer.step = marked_step
        trainer.fit()
    flags = ["--config", files[-1], "--dataset_root", sample, "--model_path", save_dir / "best_model"]
    tool.predict.main([str(flag) for flag in [*flags, "--save_dir", folder / "predictions", "--device", "cpu"]])


if __name__ == "__main__":
    try:
        with fake_gpu():
            record(Path(sys.argv[1]), Path(sys.argv[2]))
        write(COMPLETE)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # with the log on, Paddle's own exit may hang
