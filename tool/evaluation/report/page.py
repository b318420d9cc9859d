"""A report as one HTML file: no network, no second file, light and dark, wide screens and phones."""

import html
import json
import os
from pathlib import Path
from string import Template
from typing import Iterable, Sequence, Union

from compat import UserError

import numpy as np

from tool.evaluation.report.content import Cell, ImageView, Report, Signed, Table

FOLDER = Path(__file__).parent
FILE_NAME = "report.html"
LARGEST_CONFUSIONS = 8
ABSENT = "–"


def write_report(folder: Union[str, Path], report: Report) -> Path:
    """Write FILE_NAME into the folder, whole or not at all; raises UserError when that fails."""
    path = Path(folder) / FILE_NAME
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(render(report), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: the report cannot be written ({error.strerror or error})") from error
    return path


def render(report: Report) -> str:
    """The page as text. Every text of the report is escaped."""
    parts = {
        "title": html.escape(report.title),
        "style": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "script": (FOLDER / "page.js").read_text(encoding="utf-8"),
        "facts": "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in report.facts),
        "figures": "".join(
            f"<li><span>{_text(figure.name)}</span><strong>{_text(figure.value)}</strong>"
            f"<small>{_text(figure.note)}</small></li>"
            for figure in report.figures
        ),
        "note": _text(report.note),
        "legend": _legend(report),
        "classes": _class_table(report),
        "tables": "".join(_table(table) for table in report.tables),
        "confusion": _confusion_table(report),
        "confusions": _largest_confusions(report),
        "chips": _chips(report),
        "count": str(len(report.images)),
        "images": _image_table(report),
        "cards": "".join(
            _card(number, image, report) for number, image in enumerate(report.images) if image.pictures is not None
        ),
        "scores": _scores_json(report.images),
    }
    return Template((FOLDER / "page.html").read_text(encoding="utf-8")).substitute(parts)


def _text(value: object) -> str:
    return html.escape(str(value))


def _percent(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f}" if np.isfinite(value) else ABSENT


def _swatch(color: Sequence[int]) -> str:
    return '<i class="swatch" style="background:rgb({},{},{})"></i>'.format(*color)


def _names(report: Report) -> Iterable[str]:
    return (_text(name.replace("_", " ")) for name in report.classes.names)


def _class_heads(report: Report) -> Iterable[str]:
    return (f"{_swatch(color)}{name}" for name, color in zip(_names(report), report.classes.colors))


def _header(names: Iterable[str], extra: str = "") -> str:
    """Header cells with a button that sorts; the first column sorts by text. The names are HTML already."""
    cells = (f'<th scope="col" aria-sort="none"><button type="button">{name}</button></th>' for name in names)
    return f"<thead><tr>{''.join(cells)}{extra}</tr></thead>"


def _cell(value: Cell) -> str:
    if isinstance(value, str):
        return f"<td>{_text(value)}</td>"
    sign = "+" if isinstance(value, Signed) and value > 0 else ""
    return f"<td{_sort_key(value)}>{sign}{_percent(value)}</td>"


def _sort_key(value: float) -> str:
    return f' data-value="{value:.6f}"' if np.isfinite(value) else ' data-value=""'


def _table(table: Table) -> str:
    body = "".join(
        f'<tr><th scope="row">{_text(first)}</th>{"".join(_cell(value) for value in rest)}</tr>'
        for first, *rest in table.rows
    )
    note = f'<p class="note">{_text(table.note)}</p>' if table.note else ""
    return (
        f"<h3>{_text(table.title)}</h3><div class='scroll'><table class='sortable'>"
        f"{_header(map(_text, table.header))}<tbody>{body}</tbody></table></div>{note}"
    )


def _legend(report: Report) -> str:
    if report.second is None:
        return ""
    return (
        f'<p class="legend"><i class="swatch this"></i>{_text(report.model)} '
        f'<i class="swatch second"></i>{_text(report.second.name)}</p>'
    )


def _class_table(report: Report) -> str:
    share = report.confusion.sum(1) / max(1, report.confusion.sum())
    columns = [*report.columns, ("share of pixels", share)]
    if report.second is not None:
        difference = [Signed(value) for value in report.class_iou - report.second.class_iou]
        columns.insert(0, ("difference", difference))
    rows = []
    for index, head in enumerate(_class_heads(report)):
        bars = _bar("this", report.class_iou[index])
        if report.second is not None:
            bars += _bar("second", report.second.class_iou[index])
        cells = "".join(_cell(values[index]) for _, values in columns)
        bar_cell = f'<td class="bars"{_sort_key(report.class_iou[index])}>{bars}</td>'
        rows.append(f'<tr><th scope="row">{head}</th>{bar_cell}{cells}</tr>')
    header = _header(["class", "IoU", *(_text(title) for title, _ in columns)])
    return f"<table class='sortable classes'>{header}<tbody>{''.join(rows)}</tbody></table>"


def _bar(kind: str, value: float) -> str:
    length = value if np.isfinite(value) else 0
    return f'<div class="bar {kind}"><i style="--length:{length:.4f}"></i><b>{_percent(value)}</b></div>'


def _shares(confusion: np.ndarray) -> np.ndarray:
    """Rows as shares of the label's pixels; NaN for a label that is absent."""
    with np.errstate(invalid="ignore"):
        return confusion / confusion.sum(1, keepdims=True)


def _confusion_table(report: Report) -> str:
    shares = _shares(report.confusion)
    heads, names = list(_class_heads(report)), list(_names(report))
    columns = "".join(f'<th scope="col"><span>{head}</span></th>' for head in heads)
    rows = []
    for row, head in enumerate(heads):
        cells = "".join(
            _heat_cell(
                shares[row, column],
                f"{names[row]} as {names[column]}: {int(report.confusion[row, column]):,} pixels",
                row == column,
            )
            for column in range(len(heads))
        )
        rows.append(f'<tr><th scope="row">{head}</th>{cells}</tr>')
    return f"<table class='heat'><thead><tr><td></td>{columns}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _heat_cell(share: float, title: str, right: bool) -> str:
    if not np.isfinite(share):
        return '<td class="absent"></td>'
    # The square root lets the eye see small confusions beside the large diagonal.
    strength = 100 * share**0.5
    kinds = ("right " if right else "") + ("strong" if strength > 65 else "")
    text = f"{100 * share:.0f}" if share >= 0.005 else ""
    return f'<td class="{kinds}" style="--strength:{strength:.0f}%" title="{title} ({_percent(share)} %)">{text}</td>'


def _largest_confusions(report: Report) -> str:
    shares = np.nan_to_num(_shares(report.confusion))
    np.fill_diagonal(shares, 0)
    heads = list(_class_heads(report))
    items = []
    for position in np.argsort(-shares, axis=None, kind="stable")[:LARGEST_CONFUSIONS]:
        row, column = np.unravel_index(position, shares.shape)
        if shares[row, column] > 0:
            share = _percent(shares[row, column], 1)
            items.append(f"<li><b>{share} %</b> <span>{heads[row]} → {heads[column]}</span></li>")
    return "".join(items)


def _chips(report: Report) -> str:
    heads = ["mean IoU", *_class_heads(report)]
    return "".join(
        f'<button type="button" class="chip" data-key="{key}" aria-pressed="{str(key == 0).lower()}">{head}</button>'
        for key, head in enumerate(heads)
    )


def _image_table(report: Report) -> str:
    columns = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" data-key="{key}"><span>{head}</span></button></th>'
        for key, head in enumerate(("mean IoU", *_class_heads(report)))
    )
    rows = []
    for number, image in enumerate(report.images):
        name = _text(image.name)
        if image.pictures is not None:
            name = f'<a href="#image{number}">{name}</a>'
        cells = "".join(_score_cell(value) for value in (image.miou, *image.class_iou))
        rows.append(f'<tr data-image="{number}"><th scope="row">{name}</th>{cells}</tr>')
    return (
        f"<table class='heat images' id='image-table'><thead><tr><th scope='col'>image</th>{columns}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _score_cell(value: float) -> str:
    if not np.isfinite(value):
        return '<td class="absent"></td>'
    lack = 100 * (1 - value)
    return f'<td style="--strength:{lack:.0f}%" class="{"strong" if lack > 65 else ""}">{100 * value:.0f}</td>'


def _card(number: int, image: ImageView, report: Report) -> str:
    name = _text(image.name)
    views = "".join(
        f'<figure><img alt="{view} of {name}" width="{picture.width}" height="{picture.height}" decoding="async" '
        f'src="{html.escape(picture.uri)}"><figcaption>{view}</figcaption></figure>'
        for view, picture in image.pictures._asdict().items()
    )
    return (
        f'<article class="card" id="image{number}" data-image="{number}"><header><h3>{name}</h3>'
        f'<p><b class="score"></b> <span class="rank"></span></p></header><div class="views">{views}</div></article>'
    )


def _scores_json(images: Sequence[ImageView]) -> str:
    """[n][1 + K] IoUs, null where absent; `<` cannot end the script element that holds them."""
    rows = [
        [None if not np.isfinite(value) else round(float(value), 6) for value in (image.miou, *image.class_iou)]
        for image in images
    ]
    return json.dumps(rows, separators=(",", ":")).replace("<", "\\u003c")
