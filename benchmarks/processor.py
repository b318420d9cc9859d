"""The effect of compat's settings on the speed of training and prediction, in processes that alternate.

The baseline is Paddle without them, with the same number of threads. STDC1-Seg in float32: a training step of batch 2
at 256x512 (forward, losses, backward, update), and the prediction of one image of 512x1024.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from compat import check_writable, text_table
from compat.allocator import MALLOC_SETTINGS
from compat.processor import mkl_cpu_type, physical_cores

from benchmarks.figures.record import write_figures
from engine.command import parser, run
from tool.speed.hardware import processor_name

STEPS, ROUNDS = 4, 3
SHAPE = (2, 3, 256, 512)
IMAGE = (1, 3, 512, 1024)
# Values that make compat leave a setting alone and have no effect themselves.
NEUTRAL = {"MKL_DEBUG_CPU_TYPE": "", "MALLOC_PERTURB_": "0"}
BASELINE = "Paddle as it comes"  # a key of files in benchmarks/results


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure, print the table, write the figures."""
    arguments = parser(__doc__, "python -m benchmarks.processor --json output/processor.json")
    arguments.add_argument("--json", type=Path, metavar="F", help="write the figures to F")
    arguments.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args(argv)
    check_writable(options.json)
    if options.measure:
        print(json.dumps(measure()))
        return
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    choices = settings(mkl_cpu_type(cpuinfo))
    seconds: Dict[str, Dict[str, List[float]]] = {choice: {"step": [], "prediction": []} for choice in choices}
    for _ in range(ROUNDS):
        for choice, environment in choices.items():
            for what, values in _run(environment).items():
                seconds[choice][what] += values
    medians = {
        choice: {what: statistics.median(values) for what, values in found.items()} for choice, found in seconds.items()
    }
    print(
        f"{processor_name()}, {physical_cores()} threads, {ROUNDS} rounds of {STEPS} after 1 to warm up, medians, ratio"
    )
    parts = list(medians[BASELINE])
    rows = (
        (choice, *(text for part in parts for text in _seconds(found[part], medians[BASELINE][part])))
        for choice, found in medians.items()
    )
    print(text_table(("", *(title for part in parts for title in (f"{part}, s", "ratio"))), rows))
    if options.json:
        first = medians[BASELINE]
        ratios = {
            choice: {what: value / first[what] for what, value in found.items()} for choice, found in medians.items()
        }
        write_figures(options.json, {"seconds": medians, "ratios": ratios})


def _seconds(value: float, reference: float) -> Tuple[str, str]:
    return f"{value:.2f}", f"{value / reference:.2f}"


def settings(kind: str) -> Dict[str, Dict[str, str]]:
    """{name: environment} to compare.

    Args:
        kind: value of MKL_DEBUG_CPU_TYPE, or empty if compat does not set it on this processor.
    """
    mkl = {**NEUTRAL, "MKL_DEBUG_CPU_TYPE": kind}
    memory = {"MKL_DEBUG_CPU_TYPE": "", **{name: str(value) for name, (_, value) in MALLOC_SETTINGS.items()}}
    choices = {BASELINE: NEUTRAL, "freed memory kept": memory}
    return {**choices, f"MKL_DEBUG_CPU_TYPE={kind}": mkl, "both": {**memory, **mkl}} if kind else choices


def _run(choice: Dict[str, str]) -> Dict[str, List[float]]:
    """The result of `measure` in a process with this environment."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment = {**inherited, **choice, "OMP_NUM_THREADS": str(physical_cores())}
    command = [sys.executable, "-m", "benchmarks.processor", "--measure"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure() -> Dict[str, List[float]]:
    """Seconds of each of STEPS training steps and predictions in this process."""
    import time

    import paddle

    from benchmarks.peers.ours import CLASSES, build_training
    from engine.recipe import load_recipe
    from engine.training.gradients import add_gradients

    model, criterion, optimizer = build_training(load_recipe("configs/stdc1_seg_sample.yml"))
    images, labels = paddle.randn(SHAPE), paddle.randint(0, CLASSES, [SHAPE[0], *SHAPE[2:]])
    image = paddle.randn(IMAGE)

    def step() -> None:
        add_gradients(model, criterion, images, labels)
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)

    def predict() -> None:
        with paddle.no_grad():
            model(image)

    def timed(call) -> List[float]:
        seconds = []
        for _ in range(STEPS + 1):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        return seconds[1:]

    steps = timed(step)
    model.eval()
    return {"step": steps, "prediction": timed(predict)}


if __name__ == "__main__":
    run(main)
