"""Latency of every network in every engine, against PaddleSeg's STDCSeg: uint8 image to class map, batch 1.

All calls of a network alternate in one run. PaddleSeg runs in a process of its own, once with Paddle's defaults and
once with the environment that the commands of this project set (threads, MKL kernels, allocator). Weights are random.
Below the table is the time that each network would take at the highest rate of multiply-accumulates measured here.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from compat import check_writable, markdown_table
from compat.processor import physical_cores

import numpy as np

from benchmarks.figures.record import write_figures
from benchmarks.figures.speed import CASES
from benchmarks.peers.paddleseg_peer import PeerProcess
from engine.command import parser, run, whole_number
from tool.speed.clock import Latency, time_alternating, timed_runs
from tool.speed.cost import CITYSCAPES_CLASSES, deployed_cost
from tool.speed.hardware import describe_hardware
from tool.speed.networks import VariantOptions, build_variants
from tool.speed.peak import measure_peaks

HEADLINE = "STDC2-Seg50"
PEER, PEER_WITH_OURS, PEER_EXPORTED = "paddleseg eager", "paddleseg eager, our settings", "paddleseg exported"
PADDLESEG_HAS = ("stdc1_seg", "stdc2_seg")


class Measured(NamedTuple):
    """One network. latencies: by "ENGINE PRECISION" or the name of a peer; absent: why other variants did not run."""

    case: str
    latencies: Dict[str, Latency]
    absent: List[str]

    def fastest(self) -> str:
        """The name of our fastest variant."""
        ours = {name: latency for name, latency in self.latencies.items() if not name.startswith("paddleseg")}
        return min(ours, key=lambda name: ours[name].p50)

    def ratio(self, name: str, peer: str = PEER) -> Optional[float]:
        """The peer's median time over that of `name`; None if the peer was not measured."""
        return self.latencies[peer].p50 / self.latencies[name].p50 if peer in self.latencies else None


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure every case, print the table, write the figures."""
    options = _parser().parse_args(argv)
    check_writable(options.json)
    processor = describe_hardware(physical_cores())["processor"]
    print(f"{processor}, {physical_cores()} threads, medians of {timed_runs(options.runs)}")
    peaks: Dict[str, float] = {}
    measured = []
    for case in options.cases:
        # Measured before each case, because a single measurement in a slow phase would be too low.
        for precision, peak in measure_peaks(physical_cores()).items():
            peaks[precision] = max(peak, peaks.get(precision, 0.0))
        measured.append(measure(case, options))
        print(f"{case}: {', '.join(f'{name} {one.p50:.0f} ms' for name, one in measured[-1].latencies.items())}")
    print(f"\n{table(measured)}")
    for one in measured:
        at_peak = ", ".join(f"{precision} {ms:.0f} ms" for precision, ms in milliseconds_at(peaks, one.case).items())
        print(f"{one.case}: at the peak rate of direct convolutions measured here it would take {at_peak}")
    for line in dict.fromkeys(line for one in measured for line in one.absent):
        print(f"not measured: {line}")
    if options.json:
        write_figures(options.json, as_dict(measured, peaks))


def measure(case: str, options) -> Measured:
    """Time one network and its peers in alternation."""
    model, (height, width) = CASES[case]
    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    wanted = VariantOptions((height, width), precisions=options.precisions, threads=physical_cores())
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        variants, absent = build_variants(model, CITYSCAPES_CLASSES, wanted, Path(folder))
        calls: Dict[str, Callable[[], Any]] = {
            f"{variant.engine} {variant.precision}": (lambda call=variant.call: call(image)) for variant in variants
        }
        if model in PADDLESEG_HAS:
            plain = stack.enter_context(PeerProcess(model, (height, width), our_settings=False))
            tuned = stack.enter_context(PeerProcess(model, (height, width), our_settings=True))
            calls[PEER] = lambda: plain.run("eager")
            calls[PEER_WITH_OURS] = lambda: tuned.run("eager")
            calls[PEER_EXPORTED] = lambda: tuned.run("exported")
        return Measured(case, time_alternating(calls, options.runs, warmup=1), absent)


def table(measured: Sequence[Measured]) -> str:
    """A Markdown table of medians in milliseconds; our fastest variant is bold, and the ratio is for it."""
    names = list(dict.fromkeys(name for one in measured for name in one.latencies))
    rows = []
    for one in measured:
        cells = [f"{one.latencies[name].p50:.0f}" if name in one.latencies else "" for name in names]
        cells[names.index(one.fastest())] = f"**{cells[names.index(one.fastest())]}**"
        ratio = one.ratio(one.fastest())
        rows.append((one.case, *cells, f"{ratio:.1f}" if ratio else ""))
    return markdown_table(("ms", *names, "ratio to paddleseg eager"), rows)


def milliseconds_at(peaks: Mapping[str, float], case: str) -> Dict[str, float]:
    """{precision: milliseconds of the network's multiply-accumulates at the peak rate}.

    This is not a lower bound: other algorithms, such as Winograd's in float32, need fewer multiplications.
    """
    model, size = CASES[case]
    gmacs = deployed_cost(model, CITYSCAPES_CLASSES, size)[1] / 1e9
    return {precision: 1000 * gmacs / peak for precision, peak in peaks.items()}


def as_dict(measured: Sequence[Measured], peaks: Mapping[str, float]) -> Dict[str, Any]:
    """The figures for --json, starting with the ratios of HEADLINE."""
    headline = next((one for one in measured if one.case == HEADLINE), None)
    top = {}
    if headline:
        fastest = headline.fastest()
        top = {
            "ratio_to_paddleseg_eager": headline.ratio(fastest),
            "ratio_to_paddleseg_eager_with_our_settings": headline.ratio(fastest, PEER_WITH_OURS),
            "ratio_is_of": f"{HEADLINE}, {fastest}",
        }
    return {
        **top,
        "hardware": describe_hardware(physical_cores()),
        "peak_gmacs_per_second": dict(peaks),
        "networks": {
            one.case: {
                "size": CASES[one.case][1],
                "milliseconds_at_peak": milliseconds_at(peaks, one.case),
                "milliseconds": {name: latency._asdict() for name, latency in one.latencies.items()},
                "ratio_to_paddleseg_eager": {name: one.ratio(name) for name in one.latencies},
                "not_measured": one.absent,
            }
            for one in measured
        },
    }


def _parser():
    arguments = parser(__doc__, "python -m benchmarks.inference --json output/inference.json")
    add = arguments.add_argument
    add("--cases", nargs="+", choices=CASES, default=list(CASES), help="by default all")
    add("--precisions", nargs="+", choices=("fp32", "bf16", "int8"), default=["fp32", "bf16", "int8"])
    add("--runs", type=whole_number(1), default=15, help="timed runs of each (15)")
    add("--json", type=Path, metavar="F", help="write the figures to F")
    return arguments


if __name__ == "__main__":
    run(main)
