"""Compare the mIoU of the deployed prediction with that of paddleseg's evaluation, for one network.

The deployed prediction (engine.runtime.Segmenter) resizes uint8 images, and class maps by the nearest pixel;
paddleseg.core.evaluate resizes normalised images, and logits before the argmax. Both run in Paddle's eager mode here.
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import compat

import numpy as np

from benchmarks.figures.record import write_figures
from data import SegmentationDataset
from engine.build import dataset_of
from engine.command import add_recipe_flags, choose_device, dataset_overrides, parser, run
from engine.evaluation.evaluator import Scores, evaluate_images
from engine.recipe import Protocol, load_recipe
from engine.runtime import EagerNetwork, open_network

SCALES = (0.5, 0.75, 1.0)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Evaluate both ways, print the table, write the figures."""
    arguments = parser(
        __doc__,
        "python -m benchmarks.deployed --config configs/stdc1_seg_camvid.yml --model_path output/best_model "
        "--dataset_root data/camvid --json output/deployed.json",
    )
    add_recipe_flags(arguments)
    arguments.add_argument("--model_path", required=True, help="weight file, or the folder of a checkpoint")
    arguments.add_argument("--json", type=Path, metavar="F", help="write the figures to F")
    options = arguments.parse_args(argv)
    choose_device(options.device)
    compat.check_writable(options.json)
    recipe = load_recipe(options.config, dataset_overrides(options.dataset_root), options.opts)
    dataset = dataset_of(recipe.val_dataset)
    network = open_network(recipe, dataset.num_classes, options.model_path, "eager")
    rows = compare_ways(network, dataset)
    cells = [
        [f"{row['scale']:g}", f"{row['paddleseg']:.2f}", f"{row['deployed']:.2f}", f"{100 * row['differing']:.2f} %"]
        for row in rows
    ]
    print(compat.text_table(("scale", "paddleseg's evaluation", "deployed", "pixels that differ"), cells))
    if options.json:
        write_figures(options.json, {"network": recipe.model.type, "images": len(dataset), "rows": rows})


def compare_ways(network: EagerNetwork, dataset: SegmentationDataset) -> List[Dict[str, Any]]:
    """For each of SCALES: {scale; paddleseg, deployed: mIoU in percent; differing: fraction of the labelled pixels}."""
    protocols = {str(scale): Protocol(scales=scale) for scale in SCALES}
    scores = {(way, name): Scores.zero(dataset.num_classes) for way in (0, 1) for name in protocols}
    differing = dict.fromkeys(protocols, 0)
    ways = (evaluate_images(one, dataset, protocols) for one in (network.model, network))
    for results in zip(*ways):
        for name in protocols:
            for way in (0, 1):
                scores[way, name] = scores[way, name].with_image(results[way][name])
            labelled = results[0][name].label != dataset.ignore_index
            differing[name] += np.count_nonzero((results[0][name].prediction != results[1][name].prediction) & labelled)
    return [
        {
            "scale": scale,
            "paddleseg": 100 * scores[0, name].miou,
            "deployed": 100 * scores[1, name].miou,
            "differing": differing[name] / int(scores[0, name].confusion.sum()),
        }
        for scale, name in zip(SCALES, protocols)
    ]


if __name__ == "__main__":
    run(main)
