"""Measure the latency of networks in every installed engine: percentiles of one call, starting from uint8 images.

The networks are those of --model, with random weights, or exported folders. The calls alternate, so that a slow phase
of the machine affects all of them. GMAC/s is 10^9 multiply-accumulates per second; `of peak` is its ratio to the
highest rate just measured on this processor in the same precision, with large convolutions and matrix products.

graphs: class_map      from uint8 image to class map, all inside the timer
        logits         the same without argmax: logits at the image's size
        stride_logits  also without the final resize: logits at the head's stride
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from compat import check_writable, text_table, write_json
from compat.processor import physical_cores

import numpy as np
import paddle

from engine.command import choose_device, image_size, parser, run, whole_number
from engine.runtime import EXPORTED_ENGINES, PRECISIONS, read_description
from tool.speed.clock import Latency, time_alternating, timed_runs
from tool.speed.cost import CITYSCAPES_CLASSES, deployed_cost
from tool.speed.hardware import describe_hardware
from tool.speed.networks import ENGINES, GRAPHS, VariantOptions, Variants, build_variants, load_variants
from tool.speed.peak import measure_peaks
from tool.speed.published import published

CPU_ENGINES = [name for name, engine in EXPORTED_ENGINES.items() if engine.on_cpu]


@dataclass(frozen=True)
class Row:
    """One measured variant.

    size: (h, w) of the images.
    gmacs: multiply-accumulates of a call in 10^9; None if the network is not known.
    device: that computes it, as Paddle names it.
    """

    model: str
    engine: str
    precision: str
    graph: str
    size: Tuple[int, int]
    batch: int
    latency: Latency
    gmacs: Optional[float]
    device: str = "cpu"

    @property
    def gmacs_per_second(self) -> Optional[float]:
        """GMAC/s of the median latency; None if the network is not known."""
        return None if self.gmacs is None else self.gmacs / self.latency.p50 * 1000

    def share_of_peak(self, peaks: Mapping[str, float]) -> Optional[float]:
        """GMAC/s over the processor's peak in this precision, in [0, 1]; None if either is not known, and on a GPU."""
        known = self.gmacs is not None and self.precision in peaks and self.device == "cpu"
        return self.gmacs_per_second / peaks[self.precision] if known else None

    def as_dict(self, peaks: Mapping[str, float]) -> Dict[str, Any]:
        """Plain values, with FPS, the share of the peak, and the published speed if there is one."""
        known = published(self.model, self.size)
        return {
            **{key: getattr(self, key) for key in ("model", "engine", "precision", "graph", "size", "batch", "device")},
            "milliseconds": self.latency._asdict(),
            "fps": 1000 * self.batch / self.latency.p50,
            "gmacs_per_second": self.gmacs_per_second,
            "share_of_peak": self.share_of_peak(peaks),
            "published": known._asdict() if known else None,
        }


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure, print the table, write the figures; raises UserError for unknown networks, wrong folders or files."""
    arguments = _parser().parse_args(argv)
    check_writable(arguments.json)
    choose_device(arguments.device)
    wanted = options_of(arguments)
    peaks = measure_peaks(wanted.threads)
    print(f"{describe_hardware(wanted.threads)['processor']}, {wanted.threads} threads, peak GMAC/s ", end="")
    print(", ".join(f"{precision} {peak:.0f}" for precision, peak in peaks.items()), end="")
    print(f"; {arguments.warmup} runs to warm up, {timed_runs(arguments.runs)} timed\n")
    rows: List[Row] = []
    absent: List[str] = []
    for model in arguments.model if arguments.model or arguments.exported else ["stdc2_seg"]:
        with tempfile.TemporaryDirectory() as folder:
            found = build_variants(model, CITYSCAPES_CLASSES, wanted, Path(folder))
            gmacs = deployed_cost(model, CITYSCAPES_CLASSES, wanted.size)[1] * wanted.batch / 1e9
            rows += measure(model, found, wanted, gmacs, arguments)
        absent += [line for line in found.absent if line not in absent]
    for folder in arguments.exported:
        found, folder_wanted = exported_variants(Path(folder), wanted)
        rows += measure(folder, found, folder_wanted, None, arguments)
        absent += [line for line in found.absent if line not in absent]
    print(table(rows, peaks))
    for line in absent:
        print(f"not measured: {line}")
    if arguments.json:
        write_json(arguments.json, as_dict(rows, absent, peaks, wanted.threads))


def options_of(arguments) -> VariantOptions:
    """The variants that the flags choose."""
    width, height = arguments.size
    return VariantOptions(
        (height, width),
        arguments.batch,
        arguments.engines,
        arguments.precisions,
        arguments.graphs,
        arguments.threads,
    )


def exported_variants(folder: Path, wanted: VariantOptions) -> Tuple[Variants, VariantOptions]:
    """The variants of an exported folder, and the options with the size and batch that the export is fixed to."""
    description = read_description(folder)
    wanted = wanted._replace(size=description.size or wanted.size, batch=description.batch or wanted.batch)
    found = Variants([], [])
    graph = "logits" if description.output_op == "none" else "class_map"
    engines = [engine for engine in EXPORTED_ENGINES if engine in wanted.engines and engine in description.files]
    load_variants(folder, engines, wanted, graph, found)
    return found, wanted


def measure(model: str, found: Variants, wanted: VariantOptions, gmacs: Optional[float], arguments) -> List[Row]:
    """Time the variants of one network, alternating their calls.

    Args:
        model: name of the network, for the table.
        found: its variants.
        wanted: size and batch of the images.
        gmacs: multiply-accumulates of a call in 10^9, if known.
        arguments: the number of runs and of warm-up runs.
    """
    images = np.random.default_rng(0).integers(0, 256, (wanted.batch, *wanted.size, 3), dtype=np.uint8)
    calls = {variant: (lambda call=variant.call: call(images)) for variant in found.variants}
    latencies = time_alternating(calls, arguments.runs, arguments.warmup)
    return [
        Row(
            *(model, variant.engine, variant.precision, variant.graph, wanted.size, wanted.batch, latency, gmacs),
            device="cpu" if variant.engine in CPU_ENGINES else paddle.device.get_device(),
        )
        for variant, latency in latencies.items()
    ]


def table(rows: Sequence[Row], peaks: Mapping[str, float]) -> str:
    """The rows as text, with the published speed of the network at this size."""
    header = ["model", "size", "engine", "precision", "graph", "p50 ms", "p90", "p99", "FPS", "GMAC/s", "of peak"]
    lines = []
    for row in rows:
        known = published(row.model, row.size)
        rate, share = row.gmacs_per_second, row.share_of_peak(peaks)
        lines.append(
            [
                row.model,
                f"{row.size[1]}x{row.size[0]}" + (f" x{row.batch}" if row.batch > 1 else ""),
                row.engine,
                row.precision,
                row.graph,
                *(f"{value:.1f}" for value in row.latency[:3]),
                f"{1000 * row.batch / row.latency.p50:.1f}",
                f"{rate:.1f}" if rate else "",
                f"{100 * share:.0f} %" if share else "",
                f"{known.fps:g} ({known.hardware})" if known else "",
            ]
        )
    return text_table([*header, "published FPS"], lines, left=5)


def as_dict(rows: Sequence[Row], absent: Sequence[str], peaks: Mapping[str, float], threads: int) -> Dict[str, Any]:
    """The figures and the machine, for --json."""
    return {
        "hardware": describe_hardware(threads),
        "peak_gmacs_per_second": dict(peaks),
        "rows": [row.as_dict(peaks) for row in rows],
        "not_measured": list(absent),
    }


def _parser():
    arguments = parser(
        __doc__, "python -m tool.latency --model stdc1_seg stdc2_seg --size 1024x512 --json latency.json"
    )
    add = arguments.add_argument
    add("--model", nargs="+", default=[], metavar="NAME", help="networks, with random weights; by default stdc2_seg")
    add("--exported", nargs="+", default=[], metavar="FOLDER", help="exported folders")
    add("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="by default all that are installed")
    add(
        "--precisions",
        nargs="+",
        choices=PRECISIONS,
        default=["fp32", "bf16", "int8"],
        help="of exported networks (fp32 bf16 int8)",
    )
    add("--graphs", nargs="+", choices=GRAPHS, default=list(GRAPHS[:1]), help="see above; by default class_map")
    add("--size", type=image_size, default=(1024, 512), metavar="WxH", help="of the images; by default 1024x512")
    add("--batch", type=whole_number(1, 1024), default=1, help="images per call (1)")
    add(
        "--threads",
        type=whole_number(1, 1024),
        default=physical_cores(),
        help="of the engines; eager uses OMP_NUM_THREADS",
    )
    add("--warmup", type=whole_number(0, 10**6), default=3, help="runs of each that are not timed (3)")
    add(
        "--runs", type=whole_number(1, 10**6), default=30, help="timed runs of each, rounded up to a multiple of 3 (30)"
    )
    add("--device", help="cpu, gpu or gpu:N; by default the GPU where there is one")
    add("--json", type=Path, metavar="F", help="write the figures and the hardware to F")
    return arguments


if __name__ == "__main__":
    run(main)
