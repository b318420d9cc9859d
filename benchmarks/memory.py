"""Memory that a training step allocates on the code path of a GPU, part by part; measured on the CPU.

Our code takes its GPU branches, while Paddle computes on the CPU, whose kernels keep the same tensors for the gradient.
Paddle's own counter gives the bytes. The batch is the real one, but the crop and the chunk size of the losses are
smaller: the size of every feature map is proportional to the area of the crop, so the slope between two small crops is
extrapolated to the real one. What does not grow with the crop is left out: weights, their gradients and averages, the
optimiser's state (47 MiB each for STDC2-Seg), and cuDNN's workspace on a GPU.

`held` is what is allocated at the end of a part, `peak` the maximum up to then, in GiB. Only float32 can be measured
this way: the CPU has no kernels for half precision.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from compat import UserError, check_writable

import paddle

from benchmarks.figures.record import write_figures
from benchmarks.peers.ours import CLASSES, build_training
from engine.command import SIDE, parser, run, whole_number
from engine.recipe import load_recipe
from engine.training.gradients import add_gradients
from loss import cross_entropy
from models.recompute import recompute_blocks

ROOT = Path(__file__).parents[1]
RECIPES = {
    "stdc1_seg": "stdc1_seg50_cityscapes",
    "stdc2_seg": "stdc2_seg50_cityscapes",
    "bisestdc": "bisestdc_seg50_cityscapes",
    "bisestdc2": "bisestdc2_seg50_cityscapes",
    "ddrnet23_slim": "ddrnet23_slim_cityscapes_1024x512",
    "ddrnet23": "ddrnet23_slim_cityscapes_1024x512",
}
BATCHES = (36, 48)
SMALLEST_BATCH = 12  # with fewer images, the gradients of the weights are larger than the feature maps
CROP = (1024, 512)
SMALL_CROPS = ((256, 128), (192, 96))
GIB = 2**30


def allocated() -> Dict[str, int]:
    """Bytes of host memory that Paddle's allocator has handed out: now, and the maximum since the process started."""
    core = paddle.base.core
    return {
        "held": core.host_memory_stat_current_value("Allocated", 0),
        "peak": core.host_memory_stat_peak_value("Allocated", 0),
    }


def step_bytes(network: str, batch: int, crop: Sequence[int], recomputed: bool) -> Dict[str, Dict[str, int]]:
    """{part: {held, peak}} of one step, in bytes beyond what is allocated before it.

    Call it once per process, and do nothing else there: it makes Paddle's places claim not to be the CPU.

    Args:
        network: a key of RECIPES.
        batch: number of images.
        crop: (width, height).
        recomputed: whether blocks are recomputed in the backward pass.
    """
    paddle.base.core.Place.is_cpu_place = lambda place: False
    model, criterion, optimizer = build_training(
        load_recipe(ROOT / "configs" / f"{RECIPES[network]}.yml", {"model.type": network})
    )
    if recomputed:
        recompute_blocks(model)
    before = allocated()["held"]
    images = paddle.randn([batch, 3, crop[1], crop[0]])
    labels = paddle.randint(0, CLASSES, [batch, crop[1], crop[0]], dtype="int64")
    parts: Dict[str, Dict[str, int]] = {}

    def mark(part: str) -> Callable[..., None]:
        def note(*_: Any) -> None:
            parts[part] = {key: value - before for key, value in allocated().items()}

        return note

    model.register_forward_post_hook(mark("forward"))
    for name, loss in criterion.losses.items():
        loss.register_forward_post_hook(mark(f"loss {name}"))
    add_gradients(model, criterion, images, labels)
    mark("backward")()
    optimizer.step()
    optimizer.clear_grad(set_to_zero=False)
    mark("optimizer")()
    return parts


def measure(network: str, batch: int, recomputed: bool) -> Dict[str, Any]:
    """One case, extrapolated to CROP: GiB of each part (`parts`) and of the whole step (`gib`)."""
    small, smaller = (_in_a_process(network, batch, crop, recomputed) for crop in SMALL_CROPS)
    area, area_of_small, area_of_smaller = (width * height for width, height in (CROP, *SMALL_CROPS))
    factor = area / (area_of_small - area_of_smaller) / GIB
    parts = {
        part: {key: (values[key] - smaller[part][key]) * factor for key in values} for part, values in small.items()
    }
    return {
        "network": network,
        "batch": batch,
        "crop": list(CROP),
        "recompute": recomputed,
        "gib": max(values["peak"] for values in parts.values()),
        "parts": parts,
    }


def _in_a_process(network: str, batch: int, crop: Sequence[int], recomputed: bool) -> Dict[str, Dict[str, int]]:
    command = [sys.executable, "-m", "benchmarks.memory", "--bytes_at", *map(str, crop)]
    command += ["--networks", network, "--batches", str(batch), *(["--recompute", "yes"] if recomputed else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3600, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def table(cases: Sequence[Mapping[str, Any]]) -> str:
    """The cases as aligned text."""
    lines: List[str] = []
    for case in cases:
        name = f"{case['network']}, batch {case['batch']}{', recompute' if case['recompute'] else ''}"
        lines.append(f"{name:40}  held   peak, GiB")
        lines += [f"  {part:38}{gib['held']:6.2f} {gib['peak']:6.2f}" for part, gib in case["parts"].items()]
    return "\n".join(lines)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure every case, print the table, write the figures; the keys `gib_at_batch_N` are STDC2-Seg's."""
    arguments = parser(__doc__, "python -m benchmarks.memory --json output/memory.json")
    batches = f"images per batch, at least {SMALLEST_BATCH} (36 48)"
    arguments.add_argument("--networks", nargs="+", default=tuple(RECIPES), choices=RECIPES, help="by default all")
    arguments.add_argument("--batches", nargs="+", type=whole_number(1), default=BATCHES, metavar="N", help=batches)
    arguments.add_argument(
        "--recompute", choices=("no", "yes", "both"), default="both", help="whether blocks are recomputed (both)"
    )
    arguments.add_argument("--json", type=Path, metavar="F", help="write the figures to this file")
    arguments.add_argument("--bytes_at", nargs=2, type=SIDE, metavar=("W", "H"), help=argparse.SUPPRESS)
    options = arguments.parse_args(argv)
    if options.bytes_at:
        width, height = options.bytes_at
        cross_entropy.CHUNK_BYTES = cross_entropy.CHUNK_BYTES * width * height // (CROP[0] * CROP[1])
        print(
            json.dumps(step_bytes(options.networks[0], options.batches[0], (width, height), options.recompute == "yes"))
        )
        return
    check_writable(options.json)
    if min(options.batches) < SMALLEST_BATCH:
        raise UserError(f"--batches {min(options.batches)}: give at least {SMALLEST_BATCH}; below, gradients hide maps")
    ways = {"no": (False,), "yes": (True,), "both": (False, True)}[options.recompute]
    cases = [measure(*case) for case in ((n, b, r) for n in options.networks for b in options.batches for r in ways)]
    print(table(cases))
    if options.json:
        write_figures(options.json, {**_keys(cases), "cases": cases})


def _keys(cases: Sequence[Mapping[str, Any]]) -> Dict[str, float]:
    return {
        f"gib_at_batch_{case['batch']}{'_recompute' if case['recompute'] else ''}": case["gib"]
        for case in cases
        if case["network"] == "stdc2_seg"
    }


if __name__ == "__main__":
    run(main)
