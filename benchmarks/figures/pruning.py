"""What pruning costs and gains on CamVid: mIoU of each size, and the latency of every format."""

import statistics
from typing import Any, Collection, Mapping, Optional

from benchmarks.figures.accuracy import camvid_runs
from benchmarks.figures.files import read, table

ITERATIONS = 4000  # of configs/best/stdc1_seg_camvid.yml, which the networks were cut from


def accuracy(language: str) -> str:
    """mIoU of the unpruned network, and of each size recovered and trained from random weights."""
    figures = read("pruned_camvid")
    unpruned = camvid_runs()["this project, configs/best", "stdc1_seg", ITERATIONS]
    rows = [["unpruned", f"{figures['unpruned_gmac']:.2f}", "", _runs(unpruned.values(), ITERATIONS)]]
    for one in figures["networks"]:
        kinds = (one["recovered"], one.get("from_scratch"))  # the second was not run at every size
        rows.append([one["name"], f"{one['gmac']:.2f}", *map(_kind, kinds)])
    return table(
        language, ["network", "GMAC at 512x1024", "recovered: mIoU (%)", "from random weights: mIoU (%)"], rows
    )


def _kind(kind: Optional[Mapping[str, Any]]) -> str:
    """A cell for the runs of one kind, empty without any."""
    return _runs([run["miou"] for run in kind["seeds"]], kind["iterations"]) if kind else ""


def _runs(values: Collection[float], iterations: int) -> str:
    """The mean of the mIoU in percent, each seed's where there are several, and the iterations."""
    each = f" ({', '.join(f'{value:.1f}' for value in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{each}, {iterations} iterations"


def formats(language: str) -> str:
    """Milliseconds of each network in each format, how many times as fast as the first network, and mIoU."""
    networks = read("pruned_formats")["networks"]
    found = [{(row["engine"], row["precision"]): row for row in one["rows"] if row["p50_ms"]} for one in networks]
    rows = []
    for key, first in found[0].items():
        cells = [f"{first['p50_ms']:.1f} ms, {first['miou']:.1f}"]
        for rows_of in found[1:]:
            row = rows_of.get(key)
            ratio = row and first["p50_ms"] / row["p50_ms"]
            cells.append(f"{row['p50_ms']:.1f} ms ({ratio:.2f}x), {row['miou']:.1f}" if row else "")
        rows.append([" ".join(key), *cells])
    return table(language, ["format", *(one["name"] for one in networks)], rows)
