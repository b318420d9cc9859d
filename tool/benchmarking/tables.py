"""The measurements as text, Markdown, CSV and JSON."""

import csv
import io
from typing import Any, Dict, List, NamedTuple, Sequence

from compat import markdown_table, text_table

from tool.benchmarking.choice import Choice
from tool.benchmarking.measurement import Measurement

HEADER = (
    *("engine", "precision", "mIoU", "drop", "p50 ms", "p90", "FPS", "file MiB", "peak memory MiB"),
    "network's share MiB",
)


class Report(NamedTuple):
    """The results of a run of the command.

    about: what was measured, where and how, in plain values.
    summary: the same as a sentence.
    rows: the measurements.
    choice: the recommendation.
    """

    about: Dict[str, Any]
    summary: str
    rows: Sequence[Measurement]
    choice: Choice


def as_text(report: Report) -> str:
    """The report for the terminal: the table, and a line for each format that was not measured."""
    lines = [report.summary, "", text_table(HEADER, map(_cells, report.rows), left=2)]
    reasons = [f"{row.name}: {row.reason}" for row in report.rows if row.reason]
    return "\n".join([*lines, *(["", *reasons] if reasons else []), ""])


def as_markdown(report: Report) -> str:
    """The report as a Markdown page, with the recommendation."""
    cells = [[*_cells(row), row.reason.replace("|", r"\|")] for row in report.rows]
    table = markdown_table([*HEADER, "why not measured"], cells, left=2)
    return f"# Benchmark\n\n{report.summary}\n\n{table}\n\n{report.choice.sentence}.\n"


def as_csv(report: Report) -> str:
    """One line for each format, with empty fields for missing figures."""
    rows = [row.as_dict() for row in report.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_dict(report: Report) -> Dict[str, Any]:
    """The report as plain values, for JSON."""
    row = report.choice.row
    chosen = {"engine": row.engine, "precision": row.precision} if row else None
    rows = [row.as_dict() for row in report.rows]
    return {**report.about, "rows": rows, "choice": chosen, "sentence": report.choice.sentence}


def _cells(row: Measurement) -> List[str]:
    figures = row.as_dict()
    keys = {"miou": 2, "drop": 2, "p50_ms": 1, "p90_ms": 1, "fps": 1, "file_mib": 1}
    keys.update({"peak_memory_mib": 0, "network_memory_mib": 0})
    shown = ["-" if figures[key] is None else _rounded(figures[key], digits) for key, digits in keys.items()]
    return [row.engine, row.precision, *shown]


def _rounded(number: float, digits: int) -> str:
    return f"{round(number, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0
