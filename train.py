"""Train a network by a recipe: python train.py [--config configs/....yml] [--opts key=value ...]."""

import argparse
from pathlib import Path
from typing import Optional, Sequence, Tuple

from compat import UserError

import paddle

from engine.command import WORKERS, add_recipe_flags, choose_device, dataset_overrides, parser, run, whole_number
from engine.recipe import Recipe, load_recipe, scale_learning_rate
from engine.resilience.divergence import POLICIES
from engine.training.options import MAX_SKIPPED, RunOptions
from engine.training.precision import DTYPES
from engine.training.trainer import Trainer

DEFAULT_CONFIG = Path(__file__).parent / "configs" / "stdc2_seg50_cityscapes.yml"
RECIPE_FLAGS = ("iters", "batch_size", "accumulate", "save_interval", "log_iters", "precision")
LAUNCHERS = ("none", "paddle")


def main(argv: Optional[Sequence[str]] = None) -> None:
    arguments = flags().parse_args(argv)
    choose_device(arguments.device)
    Trainer(*recipe_and_options(arguments)).fit()


def recipe_and_options(arguments: argparse.Namespace) -> Tuple[Recipe, RunOptions]:
    """The recipe that the command line describes, and the options of the run.

    Raises:
        UserError: for a launcher that Paddle does not have, or a mistake in the recipe.
    """
    if arguments.launcher not in LAUNCHERS:
        raise UserError(
            f"--launcher {arguments.launcher}: Paddle has a launcher of its own; "
            "run: python -m paddle.distributed.launch --gpus 0,1 train.py ..."
        )
    overrides = dataset_overrides(arguments.dataset_root)
    overrides.update({name: getattr(arguments, name) for name in RECIPE_FLAGS if getattr(arguments, name) is not None})
    if arguments.learning_rate not in (None, "auto"):
        overrides["lr_scheduler.learning_rate"] = arguments.learning_rate
    recipe = load_recipe(arguments.config, overrides, arguments.opts)
    if arguments.learning_rate == "auto":
        recipe = scale_learning_rate(recipe, paddle.distributed.get_world_size())
    return recipe, RunOptions(
        save_dir=arguments.save_dir,
        num_workers=arguments.num_workers,
        seed=arguments.seed,
        diff_seed=arguments.diff_seed,
        deterministic=arguments.deterministic,
        validate=not arguments.no_validate,
        resume_model=arguments.resume_model,
        load_from=arguments.load_from,
        finetune=arguments.finetune,
        finetune_classes=tuple(arguments.finetune_classes),
        finetune_config=arguments.finetune_config,
        keep_checkpoint_max=arguments.keep_checkpoint_max,
        use_vdl=arguments.use_vdl,
        on_nan=arguments.on_nan,
        max_skipped=arguments.max_skipped,
        skip_bad_samples=arguments.skip_bad_samples,
    )


def flags() -> argparse.ArgumentParser:
    """The parser of the command line; alternative spellings of flags are mmsegmentation's."""
    arguments = parser(
        __doc__ + "\n\nWithout --config: STDC2-Seg50 on Cityscapes, for one 32 GB GPU (80k iterations, batch 36).",
        "python train.py --config configs/stdc1_seg_camvid.yml --dataset_root data/camvid --iters 600",
    )
    add_recipe_flags(arguments, default_config=str(DEFAULT_CONFIG))
    add = arguments.add_argument
    add("--save_dir", "--work-dir", default="output", help="folder for checkpoints, pictures and logs")
    add("--iters", type=whole_number(1), help="number of iterations, instead of the recipe's")
    add("--batch_size", type=whole_number(1, 10**6), help="images per device, instead of the recipe's")
    add(
        "--accumulate",
        type=whole_number(1, 10**6),
        metavar="K",
        help="each iteration averages the gradients of K batches",
    )
    add("--learning_rate", help="a rate, or auto: the recipe's, scaled linearly from its batch to the real total batch")
    add("--save_interval", type=whole_number(1), help="iterations between evaluations and checkpoints")
    add("--log_iters", type=whole_number(1), help="iterations between log lines")
    add("--precision", choices=tuple(DTYPES), help="GPU: fp16 and bf16 compute the network in mixed precision")
    add("--num_workers", type=WORKERS, help="loader processes; by default 0 on the CPU and up to 8 for a GPU")
    add("--seed", type=whole_number(0, 2**32 - 1), default=0, help="of the initial weights and of every draw")
    add(
        "--diff_seed",
        "--diff-seed",
        action="store_true",
        help="on several devices: each draws its own dropout; initial weights and the order of the data stay shared",
    )
    add("--deterministic", action="store_true", help="GPU: only kernels whose results repeat, which are slower")
    add("--no_validate", "--no-validate", action="store_true", help="do not evaluate while training")
    add("--use_vdl", action="store_true", help="write VisualDL records to SAVE_DIR/vdl")
    add(
        "--launcher",
        default="none",
        help="none or paddle, which are the same: several devices are started by python -m paddle.distributed.launch",
    )
    add("--keep_checkpoint_max", type=whole_number(), default=5, help="checkpoints to keep, 0 for all")
    _add_start_flags(arguments)
    _add_fault_flags(arguments)
    return arguments


def _add_start_flags(arguments: argparse.ArgumentParser) -> None:
    """Flags for the weights or the checkpoint that the run starts from."""
    resume = arguments.add_mutually_exclusive_group().add_argument
    resume(
        "--resume_model",
        "--resume-from",
        metavar="auto|FOLDER",
        help="continue from a checkpoint; auto: from the newest in --save_dir, if any",
    )
    resume(
        "--auto-resume",
        "--auto_resume",
        dest="resume_model",
        action="store_const",
        const="auto",
        help="the same as --resume_model auto",
    )
    start = arguments.add_mutually_exclusive_group().add_argument
    start("--load_from", "--load-from", metavar="WEIGHTS", help="start with these weights of the same network")
    start(
        "--finetune",
        metavar="WEIGHTS",
        help="start with the weights of a network that may have other classes: a file, a checkpoint's folder or a name",
    )
    add = arguments.add_argument
    add(
        "--finetune_classes",
        nargs="+",
        default=[],
        metavar="by_name|OURS=THEIRS",
        help="classes whose classifiers start from those weights: by_name, or pairs such as pavement=sidewalk",
    )
    add(
        "--finetune_config",
        metavar="FILE",
        help="the recipe of those weights, for class names; not needed for published ones",
    )


def _add_fault_flags(arguments: argparse.ArgumentParser) -> None:
    """Flags for losses that are not finite and images that cannot be read."""
    add = arguments.add_argument
    add("--on_nan", default="stop", choices=POLICIES, help="when a loss is not finite: stop, or skip that iteration")
    add(
        "--max_skipped",
        type=whole_number(),
        metavar="N",
        help=f"--on_nan skip: stop after N skipped iterations ({MAX_SKIPPED})",
    )
    add(
        "--skip_bad_samples",
        type=whole_number(),
        default=0,
        metavar="N",
        help="train on other images instead of up to N that cannot be read, and list them in SAVE_DIR/bad_samples.txt",
    )


if __name__ == "__main__":
    run(main)
