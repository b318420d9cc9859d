"""Prune the least important channels of a trained network, until a share of its multiply-accumulates is left.

Channels that must be pruned together are found by tracing the network. The command writes the pruned weights and a
recipe with the new widths, so the pruned network is trained, evaluated and exported like any other; the recipe names
the unpruned network as teacher for the training that recovers the accuracy.

criteria: sensitivity  first-order estimate of how the recipe's main loss changes when a channel is removed
          bn_scale     scales of the batch norms, for a network that was trained with a penalty on them
"""

import shlex
import sys
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

from compat import UserError, logger, text_table
from compat.processor import physical_cores

import numpy as np
import paddle
from paddle import nn

from data import SegmentationDataset, train_batches
from engine.build import criterion_of, dataset_of, default_workers, network_of, weight_file
from engine.command import (
    add_recipe_flags,
    choose_device,
    dataset_overrides,
    image_size,
    parser,
    real_number,
    run,
    whole_number,
)
from engine.pruning.cutting import SIZE
from engine.pruning.groups import Channels
from engine.pruning.importance import CRITERIA, scales, sensitivity
from engine.pruning.pruner import Importance, Pruned, prune
from engine.pruning.written import write_recipe
from engine.recipe import Recipe, load_recipe
from engine.resilience.checkpoint import CHECKSUMS, MODEL, check_replaceable, prepare_save_dir, save_checkpoint
from engine.runtime import EXPORTED_ENGINES
from loss.criterion import Criterion
from models.weights import load_weights
from tool.pruning.latency import measure, share_for_latency

RECIPE = "recipe.yml"


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Write SAVE_DIR/recipe.yml and SAVE_DIR/model.pdparams.

    Raises:
        UserError: for wrong flags, recipes, weights or datasets, and for a target that cannot be reached.
    """
    arguments = _parser().parse_args(argv)
    for opt in arguments.opts:
        if opt.startswith("model."):
            raise UserError(f"--opts {opt}: the written recipe builds on {arguments.config}; put the key there")
    choose_device(arguments.device)
    recipe = load_recipe(arguments.config, dataset_overrides(arguments.dataset_root), arguments.opts)
    sources = [arguments.model_path, arguments.config, *teacher_files(recipe)]
    check_replaceable(arguments.save_dir, (MODEL, CHECKSUMS, RECIPE), sources)
    dataset = dataset_of(recipe.train_dataset)
    model = network_of(recipe, dataset.num_classes, weights=False)
    weights = weight_file(arguments.model_path)
    load_weights(model, weights)
    save_dir = prepare_save_dir(arguments.save_dir)
    paddle.seed(arguments.seed)
    batches = Batches(recipe, dataset, arguments.batches, arguments.seed)
    loss = main_loss(recipe, model, dataset)
    by_name = {"sensitivity": lambda *network: sensitivity(*network, batches(), loss), "bn_scale": scales}
    importance = by_name[arguments.criterion]
    target = arguments.target or target_of_latency(arguments, recipe, model, dataset.num_classes, importance)
    pruned = prune(
        recipe,
        model,
        dataset.num_classes,
        target,
        importance,
        lambda: (images for images, _ in batches()),
        arguments.multiple,
        arguments.rounds,
    )
    if arguments.latency:
        logger.info("the pruned network takes %.1f ms", latency_meter(arguments, dataset.num_classes)(pruned.model))
    save_checkpoint(save_dir, pruned.model)
    command = shlex.join(["python", "-m", "tool.prune", *(sys.argv[1:] if argv is None else argv)])
    header = f"{pruned.share:.3f} of the multiply-accumulates of {arguments.config}, written by\n  {command}"
    write_recipe(save_dir / RECIPE, arguments.config, str(weights), save_dir / MODEL, pruned.recipe.model, header)
    print(table(pruned))
    logger.info(
        "%s: %.1f %% of the multiply-accumulates are left; batch norm measured on %d batches. To recover the "
        "accuracy: python train.py --config %s --save_dir output/recovered",
        save_dir,
        100 * pruned.share,
        arguments.batches,
        shlex.quote(str(save_dir / RECIPE)),
    )


def teacher_files(recipe: Recipe) -> List[str]:
    """What the recipe names as its teacher, which for a pruned network is the one before it."""
    teacher = recipe.distill.teacher if recipe.distill else None
    return [one for one in (teacher.config, teacher.weights, teacher.exported) if one] if teacher else []


def target_of_latency(arguments, recipe: Recipe, model: nn.Layer, num_classes: int, importance: Importance) -> float:
    """The share of the multiply-accumulates that meets --latency; the importance is measured only once."""
    found = []

    def measured(network: nn.Layer, channels: Channels) -> np.ndarray:
        if not found:
            found.append(importance(network, channels))
        return found[0]

    return share_for_latency(
        model,
        arguments.latency,
        lambda share: prune(recipe, model, num_classes, share, measured, tuple, arguments.multiple),
        latency_meter(arguments, num_classes),
    )


def latency_meter(arguments, num_classes: int) -> Callable[[nn.Layer], float]:
    """Returns a function that measures the milliseconds of a network with the engine, size and threads of the flags."""
    width, height = arguments.size
    return lambda model: measure(model, num_classes, arguments.engine, (height, width), arguments.threads)


class Batches:
    """The first `count` batches of a training run; each call iterates over the same ones."""

    def __init__(self, recipe: Recipe, dataset: SegmentationDataset, count: int, seed: int):
        self.arguments = (dataset, recipe.batch_size, seed, 0, count, default_workers())
        self.normalize = dataset.transform.normalize

    def __call__(self) -> Iterator[Tuple[paddle.Tensor, paddle.Tensor]]:
        """Normalised images [N, 3, H, W] float32 and labels [N, H, W] int64."""
        for images, labels, _ in train_batches(*self.arguments):
            yield self.normalize.on_device(images), labels.astype("int64")


def main_loss(recipe: Recipe, model: nn.Layer, dataset: SegmentationDataset) -> Callable:
    """The recipe's loss of the main output: (logits, labels) -> 0-d tensor."""
    whole = criterion_of(recipe, model, dataset)
    criterion = Criterion(("main",), [term for term in whole.terms if term.output == "main"], whole.resize)
    return lambda logits, labels: criterion([logits], labels)[0]


def table(pruned: Pruned) -> str:
    """A line for each group that lost channels, then the multiply-accumulates of the network."""
    rows = [
        [name[: -len(".weight")], str(before), str(after)]
        for name, (before, after) in pruned.channels.items()
        if after < before
    ]
    rows.append([f"GMAC at {SIZE[0]}x{SIZE[1]}", *(f"{count / 1e9:.2f}" for count in pruned.multiply_accumulates)])
    return text_table(["channels made by", "before", "after"], rows)


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.prune --config configs/stdc1_seg_camvid.yml --model_path output/best_model --target 0.65 "
        "--save_dir output/pruned",
    )
    add_recipe_flags(arguments, weights=("model_path",))
    add = arguments.add_argument
    add("--model_path", required=True, help="weight file, name of weights, or the folder of a checkpoint")
    add("--save_dir", type=Path, required=True, help=f"folder for {RECIPE} and {MODEL}; replaced as a whole")
    goal = arguments.add_mutually_exclusive_group(required=True)
    goal.add_argument("--target", type=real_number(0.01, 1), help="share of the multiply-accumulates to keep")
    goal.add_argument(
        "--latency",
        type=real_number(0.01, 10**6),
        metavar="MS",
        help="milliseconds to reach, from image to class map in float32",
    )
    add("--engine", choices=EXPORTED_ENGINES, default="openvino", help="that measures --latency (openvino)")
    add("--size", type=image_size, default=(1024, 512), metavar="WxH", help="of the image for --latency (1024x512)")
    add("--threads", type=whole_number(1, 1024), default=physical_cores(), help="for --latency; by default all cores")
    add("--criterion", choices=list(CRITERIA), default="sensitivity", help="importance of channels (sensitivity)")
    add("--multiple", type=whole_number(1, 1024), default=16, help="widths are rounded to multiples of this (16)")
    add("--rounds", type=whole_number(1, 100), default=4, help="importance is measured again in each round (4)")
    add(
        "--batches",
        type=whole_number(1, 10**6),
        default=16,
        help="batches of training images per round, for the criterion and the batch-norm statistics (16)",
    )
    add("--seed", type=whole_number(), default=0, help="of the order and augmentation of these images (0)")
    return arguments


if __name__ == "__main__":
    run(main)
