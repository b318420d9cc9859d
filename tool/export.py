"""Export a network for Paddle Inference, ONNX Runtime, OpenVINO and MNN; each is compared with eager mode first.

The graph computes only the main output, with batch norm folded. By default it includes the normalisation and the
argmax: it takes decoded RGB images [N, H, W, 3] uint8 and returns class maps [N, H, W] uint8. An exported network sees
each image once, at the single scale of the recipe's first protocol, which is written to `deploy.yaml`. A former export
in the folder is replaced as a whole; other files there stay.
"""

from pathlib import Path
from typing import Optional, Sequence

from compat import UserError

from data import SegmentationDataset
from engine.build import dataset_of, network_of, weight_file
from engine.command import (
    TEMPERATURE,
    add_recipe_flags,
    choose_device,
    dataset_overrides,
    parser,
    real_number,
    run,
    whole_number,
)
from engine.evaluation.evaluator import evaluate
from engine.export import export_network
from engine.export.describe import describe_graph
from engine.export.folder import exported_files, remove_drafts
from engine.export.quantizable import FORMS
from engine.export.quantize import calibration_batches, quantize_exported
from engine.protocols import deployed_scale, first_protocol
from engine.recipe import Recipe, load_recipe
from engine.resilience.checkpoint import prepare_save_dir
from engine.resilience.folder_lock import FolderLock
from engine.runtime import DEFAULT_ENGINES, EXPORTED_ENGINES, Segmenter, load_network
from engine.runtime.description import INPUTS, OUTPUT_OPS
from models.weights import load_weights

INT8_ENGINES = tuple(FORMS)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Export the network, quantise it with --int8, and print how well each engine agrees with eager mode.

    Raises:
        UserError: before the export, for wrong flags, recipes, weights or datasets, and while another export writes to
            the folder; after it, if an engine's results differ from those of eager mode.
    """
    arguments = _parser().parse_args(argv)
    int8_engines = [engine for engine in INT8_ENGINES if engine in arguments.engines] if arguments.int8 else []
    if arguments.int8 and not int8_engines:
        raise UserError(f"--int8: is for {' and '.join(INT8_ENGINES)}, not for --engines {' '.join(arguments.engines)}")
    choose_device(arguments.device)
    recipe = load_recipe(arguments.config, dataset_overrides(arguments.dataset_root), arguments.opts)
    description = describe_graph(
        recipe, arguments.input_shape, arguments.input, arguments.output_op, arguments.temperature
    )
    model = network_of(recipe, description.num_classes, weights=False)
    load_weights(model, weight_file(arguments.model_path))
    model.eval()
    # Read before the export, so that a missing dataset is reported first.
    datasets = [dataset_of(one) for one in (recipe.train_dataset, recipe.val_dataset)] if arguments.int8 else []
    folder = prepare_save_dir(arguments.save_dir)
    with FolderLock(folder):
        remove_drafts(folder)
        agreements = export_network(model, description, folder, arguments.engines)
        for engine, agreement in agreements.items():
            print(f"{engine:<12} agrees with eager: {agreement}")
        for engine in int8_engines:
            report_int8(engine, folder, recipe, *datasets, arguments)
        print(f"{folder}: {', '.join(file.name for file in exported_files(folder))}")


def report_int8(
    engine: str, folder: Path, recipe: Recipe, train: SegmentationDataset, val: SegmentationDataset, arguments
) -> None:
    """Quantise for an engine, and print the drop of the mIoU under the first protocol; see engine.export.quantize."""
    protocol = first_protocol(recipe.test_config)[1]
    segmenter = Segmenter(load_network(folder, engine), deployed_scale(*first_protocol(recipe.test_config)))
    calibration = calibration_batches(segmenter, train, arguments.calibration_images)
    result = quantize_exported(
        folder, engine, calibration, lambda network: 100 * evaluate(network, val, protocol).miou, arguments.max_drop
    )
    print(
        f"{engine:<12} int8: mIoU {result.int8:.2f}, float32 {result.fp32:.2f}, drop {result.drop:.2f} points on "
        f"{len(val)} images; calibrated on {len(calibration)}"
    )
    print(f"{'':<12} kept in float to limit the drop: {', '.join(result.float_layers) or 'nothing'}")


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.export --config configs/stdc1_seg_sample.yml --model_path output/best_model "
        "--save_dir output/export --input_shape 1 3 512 1024",
    )
    add_recipe_flags(arguments, weights=("model_path",))
    add = arguments.add_argument
    add("--model_path", required=True, help="weight file, name of weights, or the folder of a checkpoint")
    add("--save_dir", default="output/export", help="folder of the networks and deploy.yaml (output/export)")
    add(
        "--input_shape",
        nargs="+",
        type=whole_number(-1, 2**15),
        default=[-1, 3, -1, -1],
        metavar="N",
        help="N 3 H W, with -1 for any (-1 3 -1 -1)",
    )
    add("--input", choices=INPUTS, default=INPUTS[0], help="decoded images, or normalised [N, 3, H, W] RGB")
    add(
        "--output_op",
        choices=OUTPUT_OPS,
        default=OUTPUT_OPS[0],
        help="argmax: class maps; softmax: probabilities; none: logits",
    )
    add("--temperature", type=TEMPERATURE, default=1.0, help="of the softmax; see tool.evaluate --calibrate (1)")
    add("--engines", nargs="+", choices=EXPORTED_ENGINES, default=list(DEFAULT_ENGINES), help="by default all but mnn")
    add("--int8", action="store_true", help="also quantise, for OpenVINO and ONNX Runtime")
    add(
        "--calibration_images",
        type=whole_number(1, 10**6),
        default=100,
        help="training images that determine the ranges of int8 (100)",
    )
    add(
        "--max_drop",
        type=real_number(0, 100),
        default=0.5,
        help="points of mIoU that int8 may lose on the validation split (0.5)",
    )
    return arguments


if __name__ == "__main__":
    run(main)
