"""Check how the networks run on this machine's GPU: one page for the first run on a GPU, and for bug reports.

Reports the driver and libraries; outputs, losses and gradients of each network against those of the CPU, in each
precision; a run that is killed and resumed; speed and memory of training at the recipe's batch size; speed of
evaluation and of the input pipeline; class maps of Paddle Inference, and of TensorRT if it is installed. Writes
gpu_check.txt and gpu_check.json into --save_dir. The status is 1 if something is wrong. --device cpu runs every part on
the CPU, --tiny with small sizes.
"""

import functools
import time
from typing import Callable, Dict, List, Optional, Sequence

from compat import UserError, unknown_name, write_json, write_text

import paddle

from data.transforms import RandomPaddingCrop
from engine.command import choose_device, parser, run
from engine.recipe import load_recipe
from engine.resilience.checkpoint import prepare_save_dir
from tool.gpu.agreement import RECIPES, agreement
from tool.gpu.environment import environment
from tool.gpu.findings import Finding, Part, all_passed, as_dict, findings_of, page
from tool.gpu.survival import survival
from tool.gpu.trials import engines, evaluation, input_pipeline, training_alone

CONFIG = "configs/stdc2_seg50_cityscapes.yml"
PARTS = ("environment", "agreement", "survival", "training", "evaluation", "input", "engines")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the parts, print and write their findings; returns 1 if something is wrong.

    Raises:
        UserError: for an unknown part, or a folder that cannot be written to.
    """
    arguments = _parser().parse_args(argv)
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown:
        raise unknown_name("--parts", unknown[0], PARTS)
    folder = prepare_save_dir(arguments.save_dir)  # before the measurements, to report an unwritable folder
    try:
        choose_device(arguments.device)
        parts = arguments.parts
    except UserError as error:  # a GPU that cannot be used is worth a report, too
        print(f"error: {error}\n")
        parts = ["environment"]
    found: List[Part] = []
    for title, measure in measures(arguments).items():
        if title in parts:
            start = time.perf_counter()
            found.append(Part(title, findings_of(measure), time.perf_counter() - start))
            print(page(found[-1:]) + "\n", flush=True)
    write_text(folder / "gpu_check.txt", page(found) + "\n")
    write_json(folder / "gpu_check.json", as_dict(found))
    print(f"written: {folder}/gpu_check.txt, gpu_check.json")
    return 0 if all_passed(found) and len(parts) == len(arguments.parts) else 1


def measures(arguments) -> Dict[str, Callable[[], List[Finding]]]:
    """{part: function that returns its findings} of PARTS."""
    device = paddle.device.get_device()
    overrides = {"batch_size": 2, "accumulate": 1} if arguments.tiny else {}
    recipe = load_recipe(arguments.config, overrides)
    crop = (64, 64) if arguments.tiny else tuple(_crop_size(recipe))
    size = (64, 128) if arguments.tiny else (1024, 2048)
    runs = 1 if arguments.tiny else 10
    precisions = ("fp32", "fp16", "bf16") if device != "cpu" else ("fp32",)

    def trainings() -> List[Finding]:
        each = [functools.partial(training_alone, arguments.config, overrides, crop, name, runs) for name in precisions]
        return [finding for one in each for finding in findings_of(one)]

    return {
        "environment": environment,
        "agreement": lambda: agreement(arguments.networks, (64, 128) if arguments.tiny else (256, 512), device),
        "survival": lambda: survival(device),
        "training": trainings,
        "evaluation": lambda: evaluation(recipe, size, runs),
        "input": lambda: input_pipeline(recipe, size[::-1], runs),
        "engines": lambda: engines(arguments.networks[0], size),
    }


def _crop_size(recipe) -> Sequence[int]:
    crops = [step.crop_size for step in recipe.train_dataset.transforms if isinstance(step, RandomPaddingCrop)]
    if not crops:
        raise UserError("--config: the recipe's train_dataset has no RandomPaddingCrop, whose size is used")
    return crops[0]


def _parser():
    arguments = parser(__doc__, "python -m tool.gpu_check --save_dir output/gpu_check")
    add = arguments.add_argument
    add("--device", help="cpu, gpu or gpu:N; by default the GPU where there is one")
    add("--config", default=CONFIG, help="recipe whose batch size, transforms and protocol are used")
    add("--networks", nargs="+", choices=tuple(RECIPES), default=list(RECIPES), help="networks to compare with the CPU")
    add("--parts", nargs="+", default=list(PARTS), metavar="PART", help=f"only these of {', '.join(PARTS)}")
    add("--save_dir", default="output/gpu_check", help="folder for the page and the JSON")
    add("--tiny", action="store_true", help="small sizes, to see whether it runs and not how fast")
    return arguments


if __name__ == "__main__":
    run(main)
