"""What compat's choice of MKL kernels is worth: a training step with and without it, in alternating processes.

The peer is Paddle as it comes. STDC1-Seg, batch 2 of 256x512, forward, losses, backward and update, float32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from compat.processor import mkl_cpu_type, physical_cores

STEPS, ROUNDS = 4, 3
SHAPE = (2, 3, 256, 512)


def main(argv: Optional[Sequence[str]] = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, epilog="example: python -m benchmarks.processor")
    arguments.add_argument("--json", type=Path, metavar="F", help="write the figures to F")
    arguments.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args(argv)
    if options.steps:
        print(json.dumps(time_steps()))
        return
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    kind = mkl_cpu_type(cpuinfo)
    if not kind:
        print("Nothing is changed on this processor: MKL chooses its kernels well, or there are no better ones.")
        return
    seconds: Dict[str, List[float]] = {"": [], kind: []}
    for _ in range(ROUNDS):
        for choice in seconds:
            seconds[choice] += _run(choice)
    medians = {choice: statistics.median(values) for choice, values in seconds.items()}
    ratio = medians[kind] / medians[""]
    name = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?")
    print(f"{name}, {physical_cores()} threads, {ROUNDS} rounds of {STEPS} steps after 1 to warm up, medians")
    print(f"Paddle as it comes      {medians['']:.2f} s a step")
    print(f"MKL_DEBUG_CPU_TYPE={kind}    {medians[kind]:.2f} s a step, ratio {ratio:.2f}")
    if options.json:
        options.json.write_text(json.dumps({"ratio": ratio, "seconds": medians, "processor": name}), encoding="utf-8")


def _run(kind: str) -> List[float]:
    """Seconds of each step, in a process whose MKL is told `kind`; empty for Paddle as it comes."""
    environment = {**os.environ, "MKL_DEBUG_CPU_TYPE": kind, "OMP_NUM_THREADS": str(physical_cores())}
    command = [sys.executable, "-m", "benchmarks.processor", "--steps"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def time_steps() -> List[float]:
    """Seconds of each of STEPS training steps in this process."""
    import time

    import paddle

    from engine.optimizer import build_optimizer, build_schedule
    from engine.recipe import load_recipe
    from loss import build_criterion
    from models import build_model

    recipe = load_recipe("configs/stdc1_seg_sample.yml")
    model = build_model("stdc1_seg", 19)
    criterion = build_criterion(recipe.loss, model.output_names)
    schedule = build_schedule(recipe.lr_scheduler, recipe.iters)
    optimizer = build_optimizer(recipe.optimizer, schedule, (model, criterion))
    images, labels = paddle.randn(SHAPE), paddle.randint(0, 19, [SHAPE[0], *SHAPE[2:]])
    seconds = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        total, _ = criterion(model(images), labels)
        total.backward()
        optimizer.step()
        optimizer.clear_grad()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


if __name__ == "__main__":
    main()
