"""Average the weights of several checkpoints of one network, such as the last ones of a run.

The batch-norm statistics of the average are unknown, so they are measured on training images. The result is used like
any other weights.
"""

import shlex
from pathlib import Path
from typing import Iterator, Optional, Sequence

from compat import logger

import paddle

from data import train_batches
from engine.build import dataset_of, default_workers, network_of, weight_file
from engine.command import add_recipe_flags, choose_device, dataset_overrides, parser, run, whole_number
from engine.recipe import Recipe, load_recipe
from engine.resilience.checkpoint import CHECKSUMS, MODEL, check_replaceable, prepare_save_dir, save_checkpoint
from engine.training.averaging import mean_weights, measure_statistics
from models.freezing import freeze
from models.weights import load_weights, read_weights

WRITTEN = (MODEL, CHECKSUMS)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Write SAVE_DIR/model.pdparams; raises UserError if the checkpoints are not of one network, or of the recipe's."""
    arguments = _parser().parse_args(argv)
    check_replaceable(arguments.save_dir, WRITTEN, arguments.model_paths)
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
        "%s: mean of %d checkpoints, batch norm measured on %d batches of %d images; to evaluate it: "
        "python -m tool.evaluate --config %s --model_path %s",
        save_dir,
        len(arguments.model_paths),
        count,
        recipe.batch_size,
        shlex.quote(arguments.config),
        shlex.quote(str(save_dir)),
    )


def _images(recipe: Recipe, dataset, batches: int, seed: int) -> Iterator[paddle.Tensor]:
    """Normalised training images [N, 3, H, W] of the first batches of a run."""
    for images, _, _ in train_batches(dataset, recipe.batch_size, seed, 0, batches, default_workers()):
        yield dataset.transform.normalize.on_device(images)


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.average --config configs/stdc1_seg_camvid.yml "
        "--model_paths output/iter_400 output/iter_500 output/iter_600 --save_dir output/average",
    )
    add_recipe_flags(arguments, weights=("model_paths",))
    add = arguments.add_argument
    add("--model_paths", nargs="+", required=True, metavar="PATH", help="weight files, names, or checkpoint folders")
    add("--save_dir", type=Path, required=True, help="folder for model.pdparams; an earlier average there is replaced")
    add(
        "--batches",
        type=whole_number(1, 10**6),
        default=50,
        metavar="N",
        help="batches of training images for batch norm (50)",
    )
    add("--seed", type=whole_number(), default=0, help="of the order and augmentation of these images (0)")
    return arguments


if __name__ == "__main__":
    run(main)
