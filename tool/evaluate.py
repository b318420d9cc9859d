"""Evaluate a network on the validation split of a recipe, as paddleseg.core.evaluate does."""

import dataclasses
from typing import Optional, Sequence

import compat  # noqa: F401  it must come before paddle

from engine.command import add_recipe_flags, choose_device, dataset_overrides, parser, run
from engine.evaluator import evaluate
from engine.recipe import Protocol, load_recipe
from engine.trainer import dataset_of, network_of, weight_file
from models.weights import load_weights
from tool.score_table import score_table


def main(argv: Optional[Sequence[str]] = None) -> None:
    arguments = _parser().parse_args(argv)
    choose_device(arguments.device)
    recipe = load_recipe(arguments.config, dataset_overrides(arguments.dataset_root), arguments.opts)
    dataset = dataset_of(recipe.val_dataset)
    model = network_of(recipe, dataset.num_classes, weights=False)
    load_weights(model, weight_file(arguments.model_path))
    model.eval()
    protocols = {"command line": command_protocol(arguments)} if arguments.scales else recipe.test_config
    for name, protocol in protocols.items():
        scores = evaluate(model, dataset, protocol, arguments.num_workers, progress=True)
        print(f"\n{name}: {len(dataset)} images of {recipe.val_dataset.dataset_root}, {_description(protocol)}")
        print(score_table(scores, dataset.classes.names))


def command_protocol(arguments) -> Protocol:
    """The protocol that the command's flags describe."""
    return Protocol(
        aug_eval=True,
        scales=tuple(arguments.scales),
        flip_horizontal=arguments.flip_horizontal,
        is_slide=arguments.is_slide,
        crop_size=tuple(arguments.crop_size) if arguments.crop_size else None,
        stride=tuple(arguments.stride) if arguments.stride else None,
    )


def _description(protocol: Protocol) -> str:
    defaults = Protocol()
    changed = [
        f"{field.name} {getattr(protocol, field.name)}"
        for field in dataclasses.fields(protocol)
        if field.name == "scales" or getattr(protocol, field.name) != getattr(defaults, field.name)
    ]
    return ", ".join(changed)


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.evaluate --config configs/stdc1_seg_sample.yml --model_path output/best_model --scales 0.5",
    )
    add_recipe_flags(arguments)
    add = arguments.add_argument
    add("--model_path", required=True, help="weight file, or the folder of a checkpoint")
    add("--scales", nargs="+", type=float, help="scales to average over, instead of the recipe's protocols")
    add("--flip_horizontal", action="store_true", help="with --scales: average with the mirrored image")
    add("--is_slide", action="store_true", help="with --scales: sliding window")
    add("--crop_size", nargs=2, type=int, metavar=("W", "H"), help="of the sliding window")
    add("--stride", nargs=2, type=int, metavar=("W", "H"), help="of the sliding window")
    add("--num_workers", type=int, default=0, help="loader processes")
    return arguments


if __name__ == "__main__":
    run(main)
