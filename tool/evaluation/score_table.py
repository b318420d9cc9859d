"""Scorecards as text, JSON and CSV. Text is in percent, files contain fractions."""

import csv
import io
import math
from typing import Any, Dict, List, Mapping, Sequence

from compat import text_table

from engine.evaluation.metrics import ABSENT_MEANING
from engine.evaluation.scorecard import Scorecard
from engine.protocols import describe
from engine.recipe import Protocol

NONE = "-"  # for a score that does not exist


def protocol_table(cards: Mapping[str, Scorecard], protocols: Mapping[str, Protocol]) -> str:
    """A column for each protocol, and a line for each score of the whole dataset."""
    totals = [{score.title: score.value for score in card.totals()} for card in cards.values()]
    titles = list(dict.fromkeys(title for column in totals for title in column))
    rows = [[title, *(_percent(column.get(title, math.nan)) for column in totals)] for title in titles]
    lines = [text_table(["", *cards], rows)]
    lines += [f"{name}: {describe(protocols[name])}." for name in cards]
    return "\n".join([*lines, _footnote(cards)])


def class_table(card: Scorecard) -> str:
    """A line for each class, and for each of Cityscapes' categories."""
    columns = card.columns()
    rows = [[name, *(_percent(column.values[index]) for column in columns)] for index, name in enumerate(card.names)]
    lines = [text_table(["class", *(column.title for column in columns)], rows)]
    categories = card.categories()
    if categories:
        rows = [[name, _percent(scores["iou"]), _percent(scores["iiou"])] for name, scores in categories.items()]
        lines += ["", text_table(["category", "IoU", "iIoU"], rows)]
    return "\n".join([*lines, _footnote({"": card})])


def as_dict(
    cards: Mapping[str, Scorecard], protocols: Mapping[str, Protocol], about: Mapping[str, Any]
) -> Dict[str, Any]:
    """All figures of the tables and the confusion matrices, after `about`; NaN for scores that do not exist."""
    content: Dict[str, Any] = dict(about)
    content["protocols"] = {
        name: {
            "protocol": protocols[name].model_dump(),
            "images": card.scores.images,
            "absent": card.options.absent,
            "scores": {score.key: score.value for score in card.totals()},
            "classes": {
                class_name: {column.key: column.values[index] for column in card.columns()}
                for index, class_name in enumerate(card.names)
            },
            "categories": {category: dict(scores) for category, scores in card.categories().items()},
            "confusion": card.scores.confusion,
        }
        for name, card in cards.items()
    }
    return content


def as_csv(cards: Mapping[str, Scorecard]) -> str:
    """A line for each number: protocol, kind (all, class, category), name, score, value; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("protocol", "kind", "name", "score", "value"))
    for protocol, card in cards.items():
        lines: List[Sequence] = [("all", "", score.key, score.value) for score in card.totals()]
        for index, name in enumerate(card.names):
            lines += [("class", name, column.key, float(column.values[index])) for column in card.columns()]
        for name, scores in card.categories().items():
            lines += [("category", name, key, value) for key, value in scores.items()]
        writer.writerows((protocol, *line[:3], "" if math.isnan(line[3]) else repr(line[3])) for line in lines)
    return text.getvalue()


def _footnote(cards: Mapping[str, Scorecard]) -> str:
    absent = next(iter(cards.values())).options.absent
    note = f"A class that occurs neither in labels nor in predictions {ABSENT_MEANING[absent]} (--absent {absent})."
    if any(card.names and card.categories() for card in cards.values()):
        note += "\nCategories and iIoU are cityscapesscripts': what does not occur is left out of their means."
    return note


def _percent(value: float) -> str:
    return NONE if math.isnan(value) else f"{100 * value:.2f}"
