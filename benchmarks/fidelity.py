"""Compare our networks, losses and training with results that the original code computed.

Each reference file describes random weights and inputs by their seeds, and contains what the original code computed
from them. Our network gets the weights through the converter of `python -m tool.convert`. The error is the largest
absolute difference over the largest absolute reference value. benchmarks/originals/reference.py describes the format.
"""

import json
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from compat import UserError, check_writable, text_table

import paddle

from benchmarks.figures.record import write_figures
from benchmarks.originals.compare_losses import compare_losses
from benchmarks.originals.compare_network import compare_network
from benchmarks.originals.compare_training import compare_training
from engine.command import parser, run
from engine.gpu import allow_tf32

REFERENCES = Path(__file__).parent / "originals" / "reference_files"


class Row(NamedTuple):
    """One compared value of a file: `error` is relative, `limit` the largest that is allowed."""

    file: str
    output: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the limit."""
        return self.error <= self.limit


def compare(path: Path) -> List[Row]:
    """Compare one reference file, of a network, of losses or of a training run.

    Raises:
        UserError: for a file of another kind, or whose weights the converter refuses.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, list):
            results = list(compare_losses(content))
        elif "rows" in content:
            results = list(compare_training(content, path.parent))
        else:
            results = list(compare_network(content, path.with_suffix(".npz")))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a reference file of benchmarks/originals ({error!r})") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return [Row(path.stem, *result) for result in results]


def reference_files(paths: Sequence[Path]) -> List[Path]:
    """The .json files of the given files and folders; raises UserError where there are none."""
    files: List[Path] = []
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path.with_suffix(".json")]
        if not found or not all(file.is_file() for file in found):
            raise UserError(f"{path}: no reference file; without arguments those in benchmarks/originals are compared")
        files += found
    return files


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    cells = [(r.file, r.output, f"{r.error:.1e}", f"{r.limit:.0e}", "" if r.passed else "OVER") for r in rows]
    return text_table(("file", "output", "error", "limit", ""), cells, left=2)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Compare, print the table, write the figures; returns 1 if an error exceeds its limit."""
    arguments = parser(__doc__, "python -m benchmarks.fidelity --json output/fidelity.json")
    arguments.add_argument("paths", nargs="*", type=Path, default=[REFERENCES], help="reference files and folders")
    arguments.add_argument("--json", type=Path, metavar="F", help="write the figures to this file")
    options = arguments.parse_args(argv)
    check_writable(options.json)
    allow_tf32(False)  # its 10 bits are too coarse for the limits
    rows = [row for path in reference_files(options.paths) for row in compare(path)]
    print(table(rows))
    worst, nearest = max(rows, key=lambda row: row.error), max(rows, key=lambda row: row.error / row.limit)
    failed = sum(not row.passed for row in rows)
    print(
        f"Paddle {paddle.__version__}, {paddle.get_device()}, float32: {len(rows)} values, {failed} over their limit; "
        f"largest error {worst.error:.1e}, nearest to its limit {nearest.error / nearest.limit:.2f} of it"
    )
    if options.json:
        figures = {"worst": worst.error, "worst_of_limit": nearest.error / nearest.limit}
        write_figures(options.json, {**figures, "rows": [{**row._asdict(), "passed": row.passed} for row in rows]})
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
