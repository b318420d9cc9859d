"""Time and memory of each loss on class logits, compared with OHEM, on given logits and with their gradient.

Every loss gets the same logits, labels and threads. Time is the median of a forward and backward pass, the losses in
alternation; memory is the peak that two passes add in a fresh process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from compat import check_writable, text_table

import paddle
import paddle.nn.functional as F
from paddle import nn

from benchmarks.figures.record import write_figures
from engine.command import parser, run, whole_number
from loss import BorderCrossEntropyLoss, DiceLoss, FocalLoss, LovaszSoftmaxLoss, OhemCrossEntropyLoss
from loss.cross_entropy import CrossEntropyLoss
from tool.speed.resident import resident

ROOT = Path(__file__).parents[1]
CELL = 16  # pixels of one class in each direction
LOSSES: Dict[str, Callable[[], nn.Layer]] = {
    "OhemCrossEntropyLoss": OhemCrossEntropyLoss,
    "CrossEntropyLoss": CrossEntropyLoss,
    "BorderCrossEntropyLoss": BorderCrossEntropyLoss,
    "FocalLoss": FocalLoss,
    "DiceLoss": DiceLoss,
    "LovaszSoftmaxLoss": LovaszSoftmaxLoss,
}


def random_batch(shape: Sequence[int]) -> Tuple[paddle.Tensor, paddle.Tensor]:
    """Logits [N, K, H, W] float32 that require gradients, and labels [N, H, W] int64 of cells, the first ignored."""
    images, classes, height, width = shape
    paddle.seed(0)
    cells = paddle.randint(0, classes, [images, 1, -(-height // CELL), -(-width // CELL)])
    cells[:, :, 0, 0] = 255
    labels = F.interpolate(cells.astype("float32"), scale_factor=CELL, mode="nearest")[:, 0, :height, :width]
    logits = paddle.randn(list(shape)) * 3
    logits.stop_gradient = False
    return logits, labels.astype("int64")


def seconds_of(loss: nn.Layer, logits: paddle.Tensor, labels: paddle.Tensor) -> float:
    """Duration of one forward and backward pass."""
    start = time.perf_counter()
    loss(logits, labels).backward()
    seconds = time.perf_counter() - start
    logits.clear_gradient(set_to_zero=False)
    return seconds


def compare_time(shape: Sequence[int], rounds: int) -> Dict[str, float]:
    """{loss: median seconds}, after one pass to warm up."""
    logits, labels = random_batch(shape)
    built = {name: build() for name, build in LOSSES.items()}
    passes: Dict[str, List[float]] = {name: [] for name in built}
    for _ in range(rounds + 1):
        for name, loss in built.items():
            passes[name].append(seconds_of(loss, logits, labels))
    return {name: statistics.median(found[1:]) for name, found in passes.items()}


def peak_memory(name: str, shape: Sequence[int]) -> float:
    """MiB that two passes of a loss add to the peak of this process, which must not have used much memory before."""
    logits, labels = random_batch(shape)
    before, loss = resident()["VmRSS"], LOSSES[name]()
    for _ in range(2):
        seconds_of(loss, logits, labels)
    return resident()["VmHWM"] - before


def _memory_of_fresh_process(name: str, shape: Sequence[int]) -> float:
    command = [sys.executable, "-m", "benchmarks.losses", "--memory_of", name, "--shape", *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600, cwd=ROOT)
    return float(done.stdout.splitlines()[-1])


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure, print the table, write the figures."""
    arguments = parser(__doc__, "python -m benchmarks.losses --json output/losses.json")
    add = arguments.add_argument
    add("--shape", nargs=4, type=whole_number(1), default=[8, 11, 240, 320], metavar=("N", "K", "H", "W"))
    add("--rounds", type=whole_number(1), default=5, help="timed passes of each loss (5)")
    add("--json", type=Path, metavar="F", help="write the figures to this file")
    add("--memory_of", choices=tuple(LOSSES), help=argparse.SUPPRESS)
    options = arguments.parse_args(argv)
    if options.memory_of:
        print(peak_memory(options.memory_of, options.shape))
        return
    check_writable(options.json)
    memory = {name: _memory_of_fresh_process(name, options.shape) for name in LOSSES}
    seconds = compare_time(options.shape, options.rounds)
    ohem = next(iter(LOSSES))
    rows = [
        (name, f"{1000 * seconds[name]:.1f}", f"{seconds[name] / seconds[ohem]:.2f}", f"{memory[name]:.0f}")
        for name in LOSSES
    ]
    print(text_table(("loss", "ms", "to OHEM", "MiB"), rows))
    print(f"logits {options.shape}, {os.environ['OMP_NUM_THREADS']} threads, Paddle {paddle.__version__}")
    if options.json:
        write_figures(options.json, {"shape": options.shape, "seconds": seconds, "memory_mib": memory})


if __name__ == "__main__":
    run(main)
