"""Plot mIoU against latency of several networks, from what tool.benchmark wrote for each of them.

For each network and precision, the fastest engine is shown. The line joins the points of the Pareto front: no other
network is both faster and more accurate. All files should come from one machine and one image size; otherwise the
command warns.
"""

import csv
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from compat import UserError, check_writable, logger, text_table

from benchmarks.figures.record import write_figures
from engine.command import parser, run
from tool.benchmarking.plot import Point, draw, pareto_front

SHARED = ("size", "threads", "images", "rows")  # what --json takes from each file


class Row(NamedTuple):
    """A point of the picture, and the engine that it was measured in."""

    engine: str
    point: Point


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Draw the picture, print its table, and with --json write all rows of all files into one."""
    arguments = _parser().parse_args(argv)
    check_writable(arguments.save, arguments.json)
    rows: List[Row] = []
    conditions: Dict[str, str] = {}
    networks: List[Dict[str, Any]] = []
    for name, path in map(_named, arguments.files):
        content = read_benchmark(path)
        rows += fastest(name, content["rows"], arguments.engines)
        networks.append({"name": name, **{key: content[key] for key in SHARED if key in content}})
        if "measured" in content:
            conditions[str(path)] = f"{content['measured']['machine']}, {content['threads']} threads, {content['size']}"
    if len(set(conditions.values())) > 1:
        listed = "; ".join(f"{path}: {condition}" for path, condition in conditions.items())
        logger.warning("measured under different conditions: %s", listed)
    if not rows:
        raise UserError(f"{', '.join(arguments.files)}: no format was measured; the files say why")
    points = [row.point for row in rows]
    draw(points, arguments.save, arguments.title or "")
    print(table(rows))
    print(f"{arguments.save}: written")
    if arguments.json:
        write_figures(arguments.json, {"networks": networks})


def _named(text: str) -> Sequence[Any]:
    """(name, file) of NAME=FILE, or of FILE, whose stem is the name; raises UserError if the file is missing."""
    name, equals, file = text.rpartition("=")
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{path}: no such file; tool.benchmark writes benchmark.json and benchmark.csv")
    return (name if equals else path.stem), path


def read_benchmark(path: Path) -> Dict[str, Any]:
    """The content of tool.benchmark's JSON, or {"rows": ...} of its CSV; raises UserError for any other file."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            content = {"rows": list(csv.DictReader(lines))} if path.suffix == ".csv" else json.load(lines)
        for row in content["rows"]:
            row.update({key: float(row[key]) if row[key] not in (None, "") else None for key in ("miou", "p50_ms")})
            row["engine"], row["precision"]  # noqa: B018  raises KeyError if missing
        if "measured" in content:
            content["measured"]["machine"], content["threads"], content["size"]  # noqa: B018  as above
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a file of tool.benchmark ({type(error).__name__}: {error})") from error
    return content


def fastest(name: str, rows: Sequence[Mapping[str, Any]], engines: Optional[Sequence[str]] = None) -> List[Row]:
    """The fastest of the engines (by default of all) for each precision that was measured."""
    found: Dict[str, Row] = {}
    for row in rows:
        known = row["miou"] is not None and row["p50_ms"] is not None
        if known and (not engines or row["engine"] in engines):
            one = Row(row["engine"], Point(name, row["precision"], row["p50_ms"], row["miou"]))
            before = found.get(row["precision"])
            if before is None or one.point.milliseconds < before.point.milliseconds:
                found[row["precision"]] = one
    return list(found.values())


def table(rows: Sequence[Row]) -> str:
    """The points, the fastest first; a star marks those on the front."""
    front = pareto_front([row.point for row in rows])
    cells = [
        [
            *(point.group, point.precision, engine, f"{point.miou:.2f}", f"{point.milliseconds:.1f}"),
            "*" if point in front else "",
        ]
        for engine, point in sorted(rows, key=lambda row: row.point.milliseconds)
    ]
    return text_table(("network", "precision", "engine", "mIoU", "ms", "front"), cells, left=3)


def _parser():
    arguments = parser(
        __doc__,
        "python -m benchmarks.pareto unpruned=output/a/benchmark.json pruned=output/b/benchmark.json "
        "--save output/pareto.svg",
    )
    add = arguments.add_argument
    add("files", nargs="+", metavar="[NAME=]FILE", help="benchmark.json or .csv of each network, and what to call it")
    add("--engines", nargs="+", help="only these engines")
    add("--title", help="of the picture")
    add("--json", type=Path, metavar="F", help="also write every row of every file to F")
    add("--save", type=Path, default=Path("output/pareto.svg"), help="the picture, .svg or .png (output/pareto.svg)")
    return arguments


if __name__ == "__main__":
    run(main)
