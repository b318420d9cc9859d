"""Average the weights of several checkpoints of one network, such as the best ones of a run's end.

The mean of weights has no batch-norm statistics of its own, so these are measured anew on training images. What is
written is evaluated, exported and used as any other weights.
"""

from pathlib import Path
from typing import Iterator, Optional, Sequence

from compat import UserError, logger

import paddle

from data import train_batches
from engine.build import dataset_of, default_workers, network_of, weight_file
from engine.command import add_recipe_flags, choose_device, dataset_overrides, parser, run
from engine.recipe import Recipe, load_recipe
from engine.resilience.checkpoint import CHECKSUMS, MODEL, prepare_save_dir, save_checkpoint
from engine.training.averaging import mean_weights, measure_statistics
from models.freezing import freeze
from models.weights import load_weights, read_weights

WRITTEN = (MODEL, CHECKSUMS)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Write SAVE_DIR/model.pdparams; raises UserError when the checkpoints do not belong together."""
    arguments = _parser().parse_args(argv)
    if arguments.batches < 1:
        raise UserError(f"--batches {arguments.batches}: batch norm's statistics need at least 1")
    _check_replaceable(arguments.save_dir, arguments.model_paths)
    choose_device(arguments.device)
    recipe = load_recipe(arguments.config, dataset_overrides(arguments.dataset_root), arguments.opts)
    save_dir = prepare_save_dir(arguments.save_dir)
    weights = mean_weights({path: read_weights(weight_file(path)) for path in arguments.model_paths})
    dataset = dataset_of(recipe.train_dataset)
    model = network_of(recipe, dataset.num_classes, weights=False)
    freeze(model, recipe.freeze)
    load_weights(model, weights)
    paddle.seed(arguments.seed)
    count = measure_statistics(model, _images(recipe, dataset, arguments.batches, arguments.seed))
    save_checkpoint(save_dir, model)
    logger.info(
        "%s: the mean of %d checkpoints, batch norm measured on %d batches of %d images; to evaluate it: "
        "python -m tool.evaluate --config %s --model_path %s",
        save_dir,
        len(arguments.model_paths),
        count,
        recipe.batch_size,
        arguments.config,
        save_dir,
    )


def _check_replaceable(save_dir: Path, model_paths: Sequence[str]) -> None:
    """Raises UserError where replacing the folder would delete what this command did not write, or reads."""
    others = sorted(path.name for path in save_dir.iterdir() if path.name not in WRITTEN) if save_dir.is_dir() else []
    if others:
        raise UserError(f"--save_dir {save_dir}: is replaced as a whole, but holds {others[0]}; name a new folder")
    for path in map(Path, model_paths):
        if save_dir.resolve() in (path.resolve(), path.resolve().parent):
            raise UserError(f"--save_dir {save_dir}: holds {path}, which is averaged; name a new folder")


def _images(recipe: Recipe, dataset, batches: int, seed: int) -> Iterator[paddle.Tensor]:
    """Normalised training images [N, 3, H, W] of the first batches of a run."""
    for images, _, _ in train_batches(dataset, recipe.batch_size, seed, 0, batches, default_workers()):
        yield dataset.transform.normalize.on_device(images)


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.average --config configs/stdc1_seg_camvid.yml "
        "--model_paths output/iter_3600 output/iter_3800 output/iter_4000 --save_dir output/average",
    )
    add_recipe_flags(arguments, weights=("model_paths",))
    add = arguments.add_argument
    add("--model_paths", nargs="+", required=True, metavar="PATH", help="weight files, names, or checkpoint folders")
    add("--save_dir", type=Path, required=True, help="folder for model.pdparams; a mean that is there is replaced")
    add("--batches", type=int, default=50, metavar="N", help="of the recipe's training images, for batch norm (50)")
    add("--seed", type=int, default=0, help="of these images and their augmentation")
    return arguments


if __name__ == "__main__":
    run(main)
