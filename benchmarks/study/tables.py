"""The results of an ablation: a CSV with a line for each run, and a table with a line for each variant."""

import csv
import io
from pathlib import Path
from textwrap import fill
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from compat.text_table import text_table

import numpy as np

from benchmarks.study.plan import Plan
from benchmarks.study.scores import read_confusions, read_result
from engine.evaluation.comparison import Comparison, compare

FIRST_COLUMNS = ("variant", "iters", "seed", "miou", "best_miou", "best_iteration", "accuracy", "seconds")
LAST_COLUMNS = ("images", "protocol", "commit", "paddle", "processor", "date")
HEADER = ("variant", "iters", "runs", "mIoU", "sd", "best", "A - B", "low", "high", "p", "s/iter")
NOTE = (
    "mIoU of the last weights and best of all validations, in percent, as means over the seeds; sd is the standard "
    "deviation over the seeds. A - B is the difference to the baseline {baseline} over the seeds that both have, with "
    "its 95 % bootstrap interval and the p-value of a paired permutation test. Both resample the images, whose results "
    "are summed over these seeds: they estimate the effect of other images, and sd that of other seeds."
)


class Row(NamedTuple):
    """A variant's results at one number of iterations: {seed: result}, {seed: confusions [images, K, K]}."""

    variant: str
    iters: int
    results: Mapping[int, Dict[str, Any]]
    confusions: Mapping[int, np.ndarray]

    def values(self, key: str) -> np.ndarray:
        """[seeds] float64 of one of the results' numbers."""
        return np.array([result[key] for result in self.results.values()], np.float64)

    def against(self, baseline: "Row") -> Optional[Comparison]:
        """The paired comparison over the seeds that both have, if there are any."""
        shared = sorted(set(self.results) & set(baseline.results))
        if not shared:
            return None
        return compare(*(sum(row.confusions[seed] for seed in shared) for row in (self, baseline)))


def find_rows(plan: Plan, save_dir: Path) -> List[Row]:
    """A row for each variant with a complete run, in the plan's order."""
    found = []
    for variant in plan.chosen():
        folders = {run.seed: save_dir / run.folder for run in variant.runs()}
        results = {seed: read_result(folder) for seed, folder in folders.items()}
        done = {seed: result for seed, result in results.items() if result is not None}
        if done:
            found.append(
                Row(variant.name, variant.iters, done, {seed: read_confusions(folders[seed]) for seed in done})
            )
    return found


def as_csv(rows: Sequence[Row]) -> str:
    """A line for each run: fractions, seconds, and the IoU of each class."""
    results = [result for row in rows for result in row.results.values()]
    classes = list(dict.fromkeys(name for result in results for name in result["class_iou"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIRST_COLUMNS, *(f"iou_{name}" for name in classes), *LAST_COLUMNS])
    for result in results:
        ious = [_number(result["class_iou"].get(name)) for name in classes]
        first, last = ([_number(result.get(key)) for key in keys] for keys in (FIRST_COLUMNS, LAST_COLUMNS))
        writer.writerow([*first, *ious, *last])
    return text.getvalue()


def table(baseline_name: Optional[str], rows: Sequence[Row]) -> str:
    """The rows as aligned text; those of the baseline's number of iterations are compared with it."""
    baseline = next((row for row in rows if row.variant == baseline_name), None)
    text = text_table(HEADER, (_cells(row, baseline) for row in rows))
    return f"{text}\n{fill(NOTE.format(baseline=baseline_name), 100)}"


def _cells(row: Row, baseline: Optional[Row]) -> List[str]:
    miou, count = row.values("miou"), len(row.results)
    comparable = baseline is not None and row.variant != baseline.variant and row.iters == baseline.iters
    comparison = row.against(baseline) if comparable else None
    differences = ["-"] * 4
    if comparison:
        points = (comparison.difference, comparison.low, comparison.high)
        differences = [*(f"{100 * values[0]:+.2f}" for values in points), f"{comparison.p_value[0]:.4f}"]
    spread = f"{100 * miou.std(ddof=1):.2f}" if count > 1 else "-"
    best, seconds = row.values("best_miou").mean(), row.values("seconds").mean() / row.iters
    scores = [f"{100 * miou.mean():.2f}", spread, f"{100 * best:.2f}"]
    return [row.variant, str(row.iters), str(count), *scores, *differences, f"{seconds:.2f}"]


def _number(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else value
