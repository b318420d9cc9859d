"""Renders a report as one HTML file that needs no other file and no network access."""

import math
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

from compat import write_text

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tool.evaluation.report.content import Cell, ImageView, Report, Signed

FOLDER = Path(__file__).parent
FILE_NAME = "report.html"
LARGEST_CONFUSIONS = 8
STRONG = 65  # percent: heat cells of a stronger colour have light text
ABSENT = "–"


class ClassRow(NamedTuple):
    """One class: its IoU, the other network's if there is one, and the values of the further columns."""

    iou: float
    second_iou: Optional[float]
    values: List[Cell]


class HeatCell(NamedTuple):
    """A cell of a heat map. strength: of its colour, 0 to 100; kinds: its CSS classes."""

    text: str
    strength: float
    kinds: str
    title: str = ""


def write_report(folder: Union[str, Path], report: Report) -> Path:
    """Write FILE_NAME into the folder atomically; raises UserError if that fails."""
    path = Path(folder) / FILE_NAME
    write_text(path, render(report), errors="backslashreplace")
    return path


def render(report: Report) -> str:
    """The page as HTML; all text of the report is escaped."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, score=_score)
    environment.tests["finite"] = math.isfinite
    columns, rows = _classes(report)
    return environment.get_template("page.html").render(
        report=report,
        names=_names(report),
        class_columns=columns,
        class_rows=rows,
        confusion=_confusion_cells(report),
        largest_confusions=_largest_confusions(report.confusion),
        image_cells=[[_score_cell(value) for value in _scores(image)] for image in report.images],
        scores=[[_rounded(value) for value in _scores(image)] for image in report.images],
    )


def _names(report: Report) -> List[str]:
    return [name.replace("_", " ") for name in report.classes.names]


def _percent(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f}" if math.isfinite(value) else ABSENT


def _score(value: float) -> str:
    return ("+" if isinstance(value, Signed) and value > 0 else "") + _percent(value)


def _classes(report: Report) -> Tuple[List[str], List[ClassRow]]:
    """Titles of the columns after the IoU, and a row for each class."""
    columns = [*report.columns, ("share of pixels", report.confusion.sum(1) / max(1, report.confusion.sum()))]
    second = None
    if report.second is not None:
        second = report.second.class_iou
        columns.insert(0, ("difference", [Signed(value) for value in report.class_iou - second]))
    rows = [
        ClassRow(iou, None if second is None else second[index], [values[index] for _, values in columns])
        for index, iou in enumerate(report.class_iou)
    ]
    return [title for title, _ in columns], rows


def _shares(confusion: np.ndarray) -> np.ndarray:
    """Rows as shares of the label's pixels; NaN for a label that is absent."""
    with np.errstate(invalid="ignore"):
        return confusion / confusion.sum(1, keepdims=True)


def _confusion_cells(report: Report) -> List[List[Optional[HeatCell]]]:
    """[label][prediction], None where the label is absent."""
    names = _names(report)
    cells = []
    for row, shares in enumerate(_shares(report.confusion)):
        cells.append([])
        for column, share in enumerate(shares):
            pixels = int(report.confusion[row, column])
            title = f"{names[row]} as {names[column]}: {pixels:,} pixels ({_percent(share)} %)"
            cells[row].append(_share_cell(share, title, row == column) if math.isfinite(share) else None)
    return cells


def _share_cell(share: float, title: str, right: bool) -> HeatCell:
    # The square root makes small confusions visible beside the large diagonal.
    strength = 100 * share**0.5
    kinds = ("right " if right else "") + ("strong" if strength > STRONG else "")
    return HeatCell(f"{100 * share:.0f}" if share >= 0.005 else "", strength, kinds, title)


def _largest_confusions(confusion: np.ndarray) -> List[Tuple[float, int, int]]:
    """(share of the label's pixels, label, prediction), the largest first."""
    shares = np.nan_to_num(_shares(confusion))
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:LARGEST_CONFUSIONS]
    places = (np.unravel_index(position, shares.shape) for position in order)
    return [(float(shares[place]), int(place[0]), int(place[1])) for place in places if shares[place] > 0]


def _scores(image: ImageView) -> Sequence[float]:
    return (image.miou, *image.class_iou)


def _score_cell(value: float) -> Optional[HeatCell]:
    if not math.isfinite(value):
        return None
    lack = 100 * (1 - value)
    return HeatCell(f"{100 * value:.0f}", lack, "strong" if lack > STRONG else "")


def _rounded(value: float) -> Optional[float]:
    return round(float(value), 6) if math.isfinite(value) else None
