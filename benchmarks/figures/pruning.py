"""What pruning costs and gains on CamVid: mIoU of each size, and the latency of every format."""

import statistics
from typing import Mapping

from benchmarks.figures.files import read, table


def accuracy(language: str) -> str:
    """mIoU of the unpruned network, and of each size recovered and trained from random weights."""
    rows = [
        [one["name"], f"{one['gmac']:.2f}", *(_runs(one.get(kind)) for kind in ("recovered", "from_scratch"))]
        for one in read("pruned_camvid")["networks"]
    ]
    return table(
        language, ["network", "GMAC at 512x1024", "recovered: mIoU (%)", "from random weights: mIoU (%)"], rows
    )


def _runs(runs: Mapping) -> str:
    """`mean (each seed's), iterations`, and nothing where there was no run."""
    if not runs:
        return ""
    values = [one["miou"] for one in runs["seeds"]]
    each = f" ({', '.join(f'{value:.1f}' for value in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{each}, {runs['iterations']} iterations"


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
