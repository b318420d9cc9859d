"""The kernels that the recipes call: a tiny run of each kind of recipe, with the branches of a GPU, and Paddle's log.

python tests/helpers/kernel_calls.py SAMPLE FOLDER    (in a process of its own, with the environment LOGGED)
"""

import os
import re
import sys
import traceback
from pathlib import Path
from typing import Dict, Iterable, NamedTuple, Set, Tuple

import compat  # noqa: F401  it must come before paddle

from paddle import nn

import tool.predict
from engine.recipe import Recipe, load_recipe
from engine.training.trainer import RunOptions, Trainer
from tests.helpers.feigned_gpu import feigned_gpu

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


def kinds_of_recipes() -> Dict[Tuple, Path]:
    """One recipe for each combination of network, losses and optimiser that can call other kernels than the rest."""
    found: Dict[Tuple, Path] = {}
    files = [*(ROOT / "configs").glob("*.yml"), *(ROOT / "configs" / "official").glob("*.yml")]
    for file in sorted(
        files, key=lambda file: ("slim" not in file.name, len(file.name), file.name)
    ):  # small ones first
        found.setdefault(_kind(load_recipe(file)), file)
    return found


def _kind(recipe: Recipe) -> Tuple:
    family = re.match("[a-z]+", recipe.model.type).group()
    losses = [
        (name, *[(key, _switch(value)) for key, value in sorted(term.model_dump(exclude_unset=True).items())])
        for name, terms in recipe.loss.items()
        for term in terms
    ]
    return (family, str(losses), str(sorted(recipe.model.options)), recipe.optimizer.type, recipe.ema_decay > 0)


def _switch(value: object) -> object:
    """An option's value where it names or switches something, its type where it is a size."""
    return value if isinstance(value, (bool, str)) else type(value).__name__


def tiny(file: Path, sample: Path) -> Recipe:
    """One iteration of two images of 64 x 64 by that recipe, and a validation by every sort of protocol."""
    overrides = {f"{split}_dataset.dataset_root": str(sample) for split in ("train", "val")}
    overrides.update({f"{split}_dataset.type": "Cityscapes" for split in ("train", "val")})
    overrides.update(
        {
            "train_dataset.transforms.RandomPaddingCrop.crop_size": [64, 64],
            "batch_size": 2, "accumulate": 1, "total_batch_size": 2, "iters": 1, "save_interval": 1, "log_iters": 1,
            "ema_decay": 0.9, "model.pretrained": None, "model.backbone.pretrained": None,
            "test_config": PROTOCOLS,
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
    """Train and validate by every kind of recipe; predict with the last one."""
    for number, file in enumerate(kinds_of_recipes().values()):
        recipe = tiny(file, sample)
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
    flags = ["--config", file, "--dataset_root", sample, "--model_path", save_dir / "best_model"]
    tool.predict.main([str(flag) for flag in [*flags, "--save_dir", folder / "predictions", "--device", "cpu"]])


if __name__ == "__main__":
    try:
        with feigned_gpu():
            record(Path(sys.argv[1]), Path(sys.argv[2]))
        write(COMPLETE)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # with the log on, Paddle's own exit may hang
