"""What each loss on class logits takes: time and memory beside OHEM, on given logits with their gradient.

Every loss gets the same logits, labels and threads. Time is the median of its forward and backward pass, the losses
taking turns; memory is what a fresh process adds at its largest over two passes.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from compat import UserError, check_writable, text_table

import paddle
import paddle.nn.functional as F
from paddle import nn

from benchmarks.figures.record import write_figures
from engine.command import parser, run, whole_number
from loss import BorderCrossEntropyLoss, DiceLoss, FocalLoss, LovaszSoftmaxLoss, OhemCrossEntropyLoss
from loss.cross_entropy import CrossEntropyLoss

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
    """Logits [N, K, H, W] float32 that want gradients, and labels [N, H, W] int64 in cells, the first one ignored."""
    images, classes, height, width = shape
    paddle.seed(0)
    cells = paddle.randint(0, classes, [images, 1, -(-height // CELL), -(-width // CELL)])
    cells[:, :, 0, 0] = 255
    labels = F.interpolate(cells.astype("float32"), scale_factor=CELL, mode="nearest")[:, 0, :height, :width]
    logits = paddle.randn(list(shape)) * 3
    logits.stop_gradient = False
    return logits, labels.astype("int64")


def seconds_of(loss: nn.Layer, logits: paddle.Tensor, labels: paddle.Tensor) -> float:
    """One forward and backward pass."""
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
    """MB that two passes of a loss add to this process, which must not have done anything large before."""
    logits, labels = random_batch(shape)
    before, loss = _resident_mb("VmRSS"), LOSSES[name]()
    for _ in range(2):
        seconds_of(loss, logits, labels)
    return _resident_mb("VmHWM") - before


def _resident_mb(field: str) -> float:
    """This process's resident size now (VmRSS) or at its largest (VmHWM)."""
    status = Path("/proc/self/status")
    if not status.is_file():
        raise UserError("the memory of a loss is read from /proc, which only Linux has")
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


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
    add("--memory_of", choices=tuple(LOSSES), help="only print the MB that this loss adds")
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
    print(text_table(("loss", "ms", "to OHEM", "MB"), rows))
    print(f"logits {options.shape}, {os.environ['OMP_NUM_THREADS']} threads, Paddle {paddle.__version__}")
    if options.json:
        write_figures(options.json, {"shape": options.shape, "seconds": seconds, "memory_mb": memory})


if __name__ == "__main__":
    run(main)
