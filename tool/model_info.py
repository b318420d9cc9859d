"""Print the cost of networks: parameters, multiply-accumulates, outputs, and memory of a training step."""

from dataclasses import asdict
from pathlib import Path
from typing import Optional, Sequence

from compat import check_writable, text_table, write_json

import models
from engine.command import parser, run, whole_number
from engine.recipe import load_recipe
from tool.speed.cost import CROP, ModelInfo, inspect_model, segments

EXPLANATION = """\
deployed   parameters of the network in evaluation, which computes only the main output.
GMAC       10^9 multiply-accumulates of the convolutions and linear layers of the deployed network at batch 1.
training   Estimated GB (10^9 bytes) of one float32 training step at crop {0}x{1} and batch 1: what is kept for the
           backward pass, including the cross-entropy of the outputs, and three times the parameters (weights,
           gradients, momentum). Temporary memory of the backward pass is not included: on the CPU, with Paddle
           3.3.1, the peak of a step was 21-24 % higher (stdc1_seg, bisestdc, ddrnet23_slim)."""


def format_table(infos: Sequence[ModelInfo]) -> str:
    """The command's output: a table with a line for each model, a table of their outputs, and EXPLANATION."""
    sizes = list(infos[0].multiply_accumulates)
    header = ["model", "parameters", "deployed", *(f"GMAC {size}" for size in sizes), "training GB"]
    rows = [
        [
            info.title,
            f"{info.parameters:,}",
            f"{info.deployed_parameters:,}",
            *(f"{info.multiply_accumulates[size] / 1e9:.2f}" for size in sizes),
            f"{info.training_bytes / 1e9:.2f}",
        ]
        for info in infos
    ]
    outputs = [
        [info.title, output.name, _or_dash(output.stride), _or_dash(output.returned_stride), str(output.channels)]
        for info in infos
        for output in info.outputs
    ]
    return "\n".join(
        [
            text_table(header, rows),
            "",
            text_table(["model", "output", "stride of head", "stride of result", "channels"], outputs, left=2),
            "",
            EXPLANATION.format(*CROP),
        ]
    )


def _or_dash(number: Optional[int]) -> str:
    return "-" if number is None else str(number)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Print the table of one model or of all; raises UserError for an unknown model."""
    arguments = parser(__doc__, "python -m tool.model_info --model stdc2_seg --json output/model_info.json")
    arguments.add_argument("--model", help=f"one of {', '.join(models.list_models())}; by default all of them")
    arguments.add_argument(
        "--num_classes", type=whole_number(1, 10**4), help="default: 19, and 1000 for the classifiers stdc1 and stdc2"
    )
    arguments.add_argument(
        "--head_channels",
        nargs="+",
        type=whole_number(1, 10**4),
        metavar="N",
        help="widths of the main head to compare, such as 256 128 64; by default the published width",
    )
    arguments.add_argument(
        "--config", nargs="+", default=[], metavar="F", help="the networks of these recipes, and of --model if given"
    )
    arguments.add_argument("--json", type=Path, metavar="F", help="write the same figures to this file")
    options = arguments.parse_args(argv)
    check_writable(options.json)
    recipes = {config: load_recipe(config) for config in options.config}
    names = [options.model] if options.model else [] if recipes and not options.head_channels else models.list_models()
    if options.head_channels and not options.model:
        names = [name for name in names if segments(name)]
    variants = [{"head_channels": width} for width in options.head_channels or ()] or [{}]
    infos = [inspect_model(name, options.num_classes, options=variant) for name in names for variant in variants]
    for config, recipe in recipes.items():
        given = {**recipe.model.options, "widths": recipe.model.widths}
        classes = options.num_classes or recipe.train_dataset.class_count
        infos.append(inspect_model(recipe.model.type, classes, options=given, label=config))
    print(format_table(infos))
    if options.json:
        write_json(options.json, [{**asdict(info), "training_bytes": info.training_bytes} for info in infos])


if __name__ == "__main__":
    run(main)
