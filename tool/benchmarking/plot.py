"""A plot of mIoU against latency."""

from pathlib import Path
from typing import List, NamedTuple, Sequence

from compat import UserError

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

PRECISIONS = {"fp32": "o", "bf16": "s", "fp16": "D", "int8": "^"}  # matplotlib's markers
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "benchmark"}  # text that can be searched; the same file each time
TICKS = (1, 1.5, 2, 3, 4, 6)  # of each decade


class Point(NamedTuple):
    """One point. group: an engine or a network, which gets a colour; miou in percent."""

    group: str
    precision: str
    milliseconds: float
    miou: float


def draw(points: Sequence[Point], file: Path, title: str = "", ring: Sequence[Point] = ()) -> None:
    """Draw a scatter plot with the Pareto front; the latency axis is logarithmic.

    Args:
        points: any number.
        file: to write; its suffix, such as `.svg` or `.png`, determines the format.
        title: of the plot.
        ring: points to put a ring around.

    Raises:
        UserError: if the file cannot be written.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(7.5, 5), layout="constrained")
        axes = figure.add_subplot()
        _scatter(axes, points)
        front = pareto_front(points)
        style = {"color": "0.6", "linewidth": 1, "zorder": 1, "drawstyle": "steps-post"}
        axes.plot([one.milliseconds for one in front], [one.miou for one in front], **style)
        for one in ring:
            axes.scatter(one.milliseconds, one.miou, s=180, facecolors="none", edgecolors="black", zorder=4)
        axes.set(xscale="log", xlabel="latency of an image, ms (median)", ylabel="mIoU, %", title=title)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_locator(LogLocator(subs=TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        metadata = {"Date": None} if file.suffix == ".svg" else {}
        try:
            figure.savefig(file, metadata=metadata)
        except (OSError, ValueError) as error:  # ValueError: unknown suffix
            raise UserError(f"{file}: cannot be written ({error}); name another file") from error


def pareto_front(points: Sequence[Point]) -> List[Point]:
    """The points for which no other is at least as fast and as accurate, the fastest first."""
    front: List[Point] = []
    for one in sorted(points, key=lambda one: (one.milliseconds, -one.miou)):
        if not front or one.miou > front[-1].miou:
            front.append(one)
    return front


def _scatter(axes, points: Sequence[Point]) -> None:
    """Draw the points, coloured by group and with markers by precision, and the legend."""
    groups = list(dict.fromkeys(one.group for one in points))
    for number, group in enumerate(groups):
        for precision, marker in PRECISIONS.items():
            those = [one for one in points if (one.group, one.precision) == (group, precision)]
            if those:
                places = [[getattr(one, axis) for one in those] for axis in ("milliseconds", "miou")]
                label = f"{group} {precision}"
                axes.scatter(*places, marker=marker, color=f"C{number % 10}", s=50, label=label, zorder=3)
    if points:
        axes.legend(fontsize="small")
