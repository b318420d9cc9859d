"""Export a network for Paddle Inference, ONNX Runtime and OpenVINO, each compared with eager before it is kept.

The graph holds the main output alone, batch norm folded. By default it also holds the normalisation and the argmax: it
takes an RGB image [N, H, W, 3] uint8 as it is decoded and answers a class map [N, H, W] uint8.
"""

from typing import Optional, Sequence

from compat import UserError

from data import dataset_classes
from data.transforms import build_transform
from engine.checkpoint import prepare_save_dir
from engine.command import add_recipe_flags, choose_device, dataset_overrides, parser, run
from engine.engines import EXPORTED_ENGINES, Description
from engine.engines.description import INPUTS, OUTPUT_OPS
from engine.export import export_network
from engine.recipe import Recipe, load_recipe
from engine.trainer import network_of, weight_file
from models.weights import load_weights


def main(argv: Optional[Sequence[str]] = None) -> None:
    arguments = _parser().parse_args(argv)
    choose_device(arguments.device)
    recipe = load_recipe(arguments.config, dataset_overrides(arguments.dataset_root), arguments.opts)
    description = describe(recipe, arguments.input_shape, arguments.input, arguments.output_op)
    model = network_of(recipe, description.num_classes, weights=False)
    load_weights(model, weight_file(arguments.model_path))
    model.eval()
    folder = prepare_save_dir(arguments.save_dir)
    agreements = export_network(model, description, folder, arguments.engines)
    for engine, agreement in agreements.items():
        print(f"{engine:<12} agrees with eager: {agreement}")
    print(f"{folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}")


def describe(recipe: Recipe, input_shape: Sequence[int], image: str, output_op: str) -> Description:
    """The description of a graph for the recipe's classes and normalisation; raises UserError for a wrong shape."""
    if len(input_shape) != 4 or input_shape[1] != 3 or any(side == 0 or side < -1 for side in input_shape):
        raise UserError(f"--input_shape {' '.join(map(str, input_shape))}: expected N 3 H W, with -1 for any")
    batch, _, height, width = input_shape
    if (height == -1) != (width == -1):
        raise UserError(f"--input_shape: height {height} and width {width} must both be fixed, or both be -1")
    normalize = build_transform(recipe.val_dataset.transforms, "val").normalize
    return Description(
        num_classes=len(dataset_classes(recipe.val_dataset.type, **recipe.val_dataset.options).names),
        input=image,
        output_op=output_op,
        size=None if height == -1 else (height, width),
        batch=None if batch == -1 else batch,
        mean=tuple(map(float, normalize.mean)),
        std=tuple(map(float, normalize.std)),
    )


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.export --config configs/stdc1_seg_sample.yml --model_path output/best_model "
        "--save_dir output/export --input_shape 1 3 512 1024",
    )
    add_recipe_flags(arguments)
    add = arguments.add_argument
    add("--model_path", required=True, help="weight file, or the folder of a checkpoint")
    add("--save_dir", default="output/export", help="where the networks and deploy.yaml go")
    add(
        "--input_shape",
        nargs="+",
        type=int,
        default=[-1, 3, -1, -1],
        metavar="N",
        help="N 3 H W, with -1 for any; by default any batch and size",
    )
    add("--input", choices=INPUTS, default=INPUTS[0], help="image as decoded, or normalised [N, 3, H, W] RGB")
    add("--output_op", choices=OUTPUT_OPS, default=OUTPUT_OPS[0], help="argmax: a class map; none: logits")
    add("--engines", nargs="+", choices=EXPORTED_ENGINES, default=list(EXPORTED_ENGINES), help="what to export for")
    return arguments


if __name__ == "__main__":
    run(main)
