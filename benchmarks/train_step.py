"""Time and memory of a training step: our STDC-Seg and its losses against PaddleSeg's STDCSeg and its losses.

Both sides get the same Paddle, environment (threads, MKL kernels), images, labels and optimiser settings, and run
alternately in one process; medians are compared. Ours resizes logits within its losses, as our trainer does.
`losses` is the forward and backward pass of the three OHEM losses and the detail loss on given logits of full size; in
a step, their gradients are part of `backward`. Memory is the peak resident size of
a fresh process of each side over two steps, minus its resident size before the network is built.

With `--launches` the kernels that one iteration of each side calls are counted instead, from Paddle's log of a fresh
process: network, losses, gradients and update, with our GPU branches, on a batch that fits one chunk of our losses.

PaddleSeg's OHEM loss is the released one. It adds an integer mask to probabilities, which Paddle 3 refuses; here the
mask is converted to float, and nothing else is changed (`compat` replaces the loss with faster code).
"""

import argparse
import importlib
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from compat import UserError, check_writable, text_table

import paddle
from paddle import nn

from benchmarks.figures.record import write_figures
from benchmarks.peers.ours import CLASSES, build_training
from engine.command import parser, run, whole_number
from engine.recipe import load_recipe
from engine.training.optimizer import build_schedule
from models.segmentation import logits_at_stride
from tool.speed.hardware import processor_name
from tool.speed.resident import resident

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "configs" / "stdc1_seg_sample.yml"
NETWORKS = ("stdc1_seg", "stdc2_seg")
SIZES = ("256x512", "512x1024")
BATCH = 2
SIDES = ("ours", "paddleseg")
PARTS = ("forward", "losses_forward", "backward", "optimizer", "step", "losses")


class Side(NamedTuple):
    """One side of the comparison.

    criterion: (outputs, labels) -> 0-d total loss.
    zeroes_gradients: whether gradients are zeroed after an update, as by PaddleSeg's trainer, or freed, as by ours.
    """

    model: nn.Layer
    criterion: Callable[[Sequence[paddle.Tensor], paddle.Tensor], paddle.Tensor]
    optimizer: paddle.optimizer.Optimizer
    zeroes_gradients: bool

    def predict(self, images: paddle.Tensor) -> Sequence[paddle.Tensor]:
        """The outputs as the side's trainer takes them: our logits at their heads' stride, PaddleSeg's at full size."""
        with logits_at_stride(self.model):
            return self.model(images)

    def update(self) -> None:
        """Update the weights with the gradients, and discard these."""
        self.optimizer.step()
        self.optimizer.clear_grad(set_to_zero=self.zeroes_gradients)


def our_side(network: str, pixels: int) -> Side:
    """Our network, criterion and optimiser of RECIPE; `pixels` is the number of labels in a batch."""
    kept = {f"loss.{name}.n_min": _n_min(pixels) for name in ("main", "aux8", "aux16")}
    model, criterion, optimizer = build_training(load_recipe(RECIPE, {"model.type": network, **kept}))
    return Side(model, lambda outputs, labels: criterion(outputs, labels)[0], optimizer, False)


def paddleseg_side(network: str, pixels: int) -> Side:
    """PaddleSeg's network and losses, repaired, and the same optimiser."""
    from paddleseg.models import STDCSeg, losses
    from paddleseg.models.backbones import STDC1, STDC2

    recipe = load_recipe(RECIPE)
    model = STDCSeg(CLASSES, {"stdc1_seg": STDC1, "stdc2_seg": STDC2}[network]())
    ohems = [released_ohem(thresh=0.7, min_kept=_n_min(pixels)) for _ in range(3)]
    terms = [*ohems, losses.DetailAggregateLoss()]
    optimizer = paddle.optimizer.Momentum(
        build_schedule(recipe.lr_scheduler, recipe.iters),
        recipe.optimizer.momentum,
        parameters=model.parameters(),
        weight_decay=recipe.optimizer.weight_decay,
    )
    return Side(model, lambda outputs, labels: sum(term(o, labels) for term, o in zip(terms, outputs)), optimizer, True)


def released_ohem(**options: Any) -> nn.Layer:
    """PaddleSeg's OhemCrossEntropyLoss from its source file, with the sum of mixed types repaired."""
    module = importlib.import_module("paddleseg.models.losses.ohem_cross_entropy_loss")
    source = Path(module.__file__).read_text(encoding="utf-8")
    mixed = "prob + (1 - valid_mask)"
    if mixed not in source:
        raise UserError(f"{module.__file__}: is not of PaddleSeg 2.8; install that with: make install")
    source = source.replace(mixed, f"{mixed}.astype(prob.dtype)").replace("@manager.LOSSES.add_component", "")
    names: Dict[str, Any] = {"__name__": module.__name__}
    exec(compile(source, module.__file__, "exec"), names)
    return names["OhemCrossEntropyLoss"](**options)


BUILD = dict(zip(SIDES, (our_side, paddleseg_side)))


KERNEL_LOG = {"GLOG_vmodule": "api=6,backward_api=6,dygraph_api=6", "GLOG_logtostderr": "1"}
BEGIN, END = "== iteration begins", "== iteration ends"
KERNEL = re.compile(r"\] (\w+) kernel: \{")


def log_launches(side: str, network: str) -> None:
    """Run two iterations on the code path of a GPU, the second between BEGIN and END in the log; ends the process."""
    paddle.base.core.Place.is_cpu_place = lambda place: False
    images, labels = random_batch("64x64")
    built = BUILD[side](network, labels.size)
    for marks in ((), (BEGIN, END)):
        _write_mark(*marks[:1])
        built.criterion(built.predict(images), labels).backward()
        built.update()
        _write_mark(*marks[1:])
    os._exit(0)  # with the log enabled, Paddle may hang at exit


def _write_mark(*marks: str) -> None:
    for mark in marks:
        os.write(2, f"{mark}\n".encode())


def count_launches(side: str, network: str) -> Dict[str, int]:
    """{kernel: calls in one iteration of a side}, in descending order of calls.

    Raises:
        UserError: if the log does not contain a whole iteration.
    """
    command = [sys.executable, "-m", "benchmarks.train_step", "--launches_of", side, "--networks", network]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=1800, cwd=ROOT, env={**os.environ, **KERNEL_LOG}
    )
    return parse_launches(done.stderr)


def parse_launches(log: str) -> Dict[str, int]:
    """The counts of `count_launches`, from the log that the environment KERNEL_LOG enables."""
    iteration, complete, _ = log.partition(BEGIN)[2].partition(END)
    kernels = Counter(KERNEL.findall(iteration))
    if not complete or not kernels:
        raise UserError(f"Paddle {paddle.__version__} did not log an iteration's kernels; its log ends: {log[-300:]}")
    return dict(kernels.most_common())


def compare_launches(network: str) -> Dict[str, Any]:
    """One network: the kernels that each side calls, their number, and the ratio of ours over PaddleSeg's."""
    kernels = {side: count_launches(side, network) for side in SIDES}
    launches = {side: sum(counts.values()) for side, counts in kernels.items()}
    ratio = launches["ours"] / launches["paddleseg"]
    return {"network": network, "launches": launches, "ratio_launches": ratio, "kernels": kernels}


def _n_min(pixels: int) -> int:
    return max(1, pixels // 16)


def random_batch(size: str) -> List[paddle.Tensor]:
    """Images [BATCH, 3, H, W] and labels [BATCH, H, W] int64 of cells of 8x8 pixels, the first ignored."""
    height, width = (int(number) for number in size.split("x"))
    paddle.seed(0)
    cells = paddle.randint(0, CLASSES, [BATCH, 1, height // 8, width // 8])
    cells[:, :, 0, 0] = 255
    labels = nn.functional.interpolate(cells.astype("float32"), size=[height, width], mode="nearest")
    return [paddle.randn([BATCH, 3, height, width]), labels.squeeze(1).astype("int64")]


def time_step(side: Side, images: paddle.Tensor, labels: paddle.Tensor) -> Dict[str, float]:
    """Seconds of each of PARTS."""
    marks = [time.perf_counter()]

    def mark() -> None:
        if paddle.get_device() != "cpu":
            paddle.device.synchronize()
        marks.append(time.perf_counter())

    outputs = side.predict(images)
    mark()
    total = side.criterion(outputs, labels)
    mark()
    total.backward()
    mark()
    side.update()
    mark()
    del outputs, total
    with paddle.no_grad():
        given = side.model(images)  # of full size on both sides
    for logits in given:
        logits.stop_gradient = False
    start = time.perf_counter()
    side.criterion(given, labels).backward()
    mark()
    seconds = [after - before for before, after in zip(marks[:4], marks[1:5])]
    return dict(zip(PARTS, [*seconds, marks[4] - marks[0], marks[5] - start]))


def compare_time(network: str, size: str, rounds: int) -> Dict[str, Dict[str, float]]:
    """{side: {part: median seconds}} over `rounds` alternating steps, after one to warm up."""
    images, labels = random_batch(size)
    sides = {name: build(network, labels.size) for name, build in BUILD.items()}
    steps: Dict[str, List[Dict[str, float]]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            steps[name].append(time_step(side, images, labels))
    return {
        name: {part: statistics.median(step[part] for step in found[1:]) for part in PARTS}
        for name, found in steps.items()
    }


def peak_memory(side: str, network: str, size: str) -> float:
    """MiB that two steps of a side add to the peak of this process, which must not have used much memory before."""
    images, labels = random_batch(size)
    before = resident()["VmRSS"]
    built = BUILD[side](network, labels.size)
    for _ in range(2):
        built.criterion(built.predict(images), labels).backward()
        built.update()
    return resident()["VmHWM"] - before


def _memory_of_fresh_process(side: str, network: str, size: str) -> float:
    command = [sys.executable, "-m", "benchmarks.train_step", "--memory_of", side]
    command += ["--networks", network, "--sizes", size]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800, cwd=ROOT)
    return float(done.stdout.splitlines()[-1])


def compare(network: str, size: str, rounds: int) -> Dict[str, Any]:
    """One case: its figures of both sides, and the ratios of ours over PaddleSeg's."""
    memory = {side: _memory_of_fresh_process(side, network, size) for side in SIDES}
    seconds = compare_time(network, size, rounds)
    ours, theirs = (seconds[side] for side in SIDES)
    return {
        "network": network,
        "shape": [BATCH, 3, *(int(number) for number in size.split("x"))],
        "seconds": seconds,
        "memory_mib": memory,
        "ratio_step": ours["step"] / theirs["step"],
        "ratio_losses": ours["losses"] / theirs["losses"],
        "ratio_memory": memory["ours"] / memory["paddleseg"],
    }


def table(cases: Sequence[Dict[str, Any]]) -> str:
    """The cases as aligned text: seconds of each part, MiB, and ratios."""
    lines = []
    for case in cases:
        rows = [(f"{part}, s", *(case["seconds"][side][part] for side in SIDES)) for part in PARTS]
        rows.append(("peak memory, MiB", *(case["memory_mib"][side] for side in SIDES)))
        cells = ((f"  {name}", f"{a:.3f}", f"{b:.3f}", f"{a / b:.2f}") for name, a, b in rows)
        lines.append(
            text_table((f"{case['network']} {case['shape']}", "ours", "paddleseg", "ratio"), cells, rule=False)
        )
    return "\n".join(lines)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure every case, print the table, write the figures; each ratio is the worst over the cases."""
    arguments = parser(__doc__, "python -m benchmarks.train_step --json output/train_step.json")
    arguments.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    arguments.add_argument(
        "--sizes", nargs="+", default=SIZES, metavar="HxW", help="multiples of 32 (256x512 512x1024)"
    )
    arguments.add_argument("--rounds", type=whole_number(1), default=5, help="timed steps of each side (5)")
    arguments.add_argument("--json", type=Path, metavar="F", help="write the figures to this file")
    arguments.add_argument("--launches", action="store_true", help="count kernel launches, and measure nothing else")
    arguments.add_argument("--launches_of", choices=SIDES, help=argparse.SUPPRESS)
    arguments.add_argument("--memory_of", choices=SIDES, help=argparse.SUPPRESS)
    options = arguments.parse_args(argv)
    check_writable(options.json)
    for size in options.sizes:
        sides = size.split("x")
        if len(sides) != 2 or not all(side.isdecimal() and int(side) and int(side) % 32 == 0 for side in sides):
            raise UserError(f"--sizes {size}: give HEIGHTxWIDTH in multiples of 32, such as 256x512")
    if options.launches_of:
        log_launches(options.launches_of, options.networks[0])
    if options.launches:
        _report_launches([compare_launches(network) for network in options.networks], options.json)
        return
    if options.memory_of:
        print(peak_memory(options.memory_of, options.networks[0], options.sizes[0]))
        return
    cases = [compare(network, size, options.rounds) for network in options.networks for size in options.sizes]
    worst = {key: max(case[key] for case in cases) for key in ("ratio_step", "ratio_losses", "ratio_memory")}
    print(table(cases))
    setting = f"{os.environ['OMP_NUM_THREADS']} threads, Paddle {paddle.__version__}, float32, {options.rounds} rounds"
    print(f"{processor_name()}, {setting}")
    print("worst: " + ", ".join(f"{key} {value:.2f}" for key, value in worst.items()))
    if options.json:
        write_figures(options.json, {**worst, "processor": processor_name(), "rounds": options.rounds, "cases": cases})


def _report_launches(cases: Sequence[Dict[str, Any]], file: Optional[Path]) -> None:
    for case in cases:
        counts = ", ".join(f"{side} {count}" for side, count in case["launches"].items())
        print(f"{case['network']}: kernel launches of an iteration: {counts}, ratio {case['ratio_launches']:.2f}")
    if file:
        write_figures(file, {"ratio_launches": max(case["ratio_launches"] for case in cases), "cases": cases})


if __name__ == "__main__":
    run(main)
