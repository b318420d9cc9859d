"""Builds the report of an evaluation from its scorecards."""

import math
from typing import List, Mapping, Sequence, Tuple

import paddle

from engine.evaluation.metrics import ABSENT_MEANING
from engine.evaluation.scorecard import Scorecard
from engine.protocols import describe
from tool.evaluation.comparison import Evaluated
from tool.evaluation.report.content import Figure, Report, SecondModel, Table

FIGURES = ("miou", "small_object_miou", "accuracy", "kappa")  # scores at the top of the page


def build_report(networks: Sequence[Evaluated], tables: Sequence[Table] = ()) -> Report:
    """The report of the first network, compared with the second if there is one.

    Args:
        networks: one or two; the results of their first protocols are shown by class and by image.
        tables: shown before the tables of the scores.
    """
    first = networks[0]
    card = first.card
    iou, *columns = card.columns()
    return Report(
        title=f"{first.subject.recipe.model.type} on {first.subject.recipe.val_dataset.dataset_root}",
        facts=_facts(networks),
        model=_names(networks)[0],
        figures=_figures(card),
        classes=first.subject.dataset.classes,
        class_iou=iou.values,
        columns=[(column.title, column.values) for column in columns],
        confusion=card.scores.confusion,
        tables=[*tables, _score_table(first.cards), *_category_tables(first.cards)],
        images=first.gathered.image_views(),
        second=SecondModel(_names(networks)[1], networks[1].card.scores.class_iou) if len(networks) > 1 else None,
        note=f"A class that occurs neither in labels nor in predictions {ABSENT_MEANING[card.options.absent]}.",
    )


def _names(networks: Sequence[Evaluated]) -> List[str]:
    return [f"{letter}: {network.subject.path}" for letter, network in zip("AB", networks)]


def _facts(networks: Sequence[Evaluated]) -> List[Tuple[str, str]]:
    first = networks[0].subject
    name, protocol = next(iter(first.protocols.items()))
    facts = [
        ("recipe", first.config),
        ("weights", first.path),
        ("protocol", f"{name}: {describe(protocol)}"),
        ("scored", first.way),
    ]
    if len(networks) > 1:
        other = networks[1].subject
        name, protocol = next(iter(other.protocols.items()))
        facts.append(("compared with", f"{other.path} of {other.config}, {name}: {describe(protocol)}, {other.way}"))
    return [*facts, ("Paddle", f"{paddle.__version__} on {paddle.get_device()}")]


def _figures(card: Scorecard) -> List[Figure]:
    interval = card.scores.miou_interval()
    notes = {"miou": f"95 %: {100 * interval[0]:.2f} to {100 * interval[1]:.2f}"} if interval else {}
    figures = [
        Figure(score.title, f"{100 * score.value:.2f} %", notes.get(score.key, ""))
        for score in card.totals()
        if score.key in FIGURES
    ]
    pixels = int(card.scores.confusion.sum())
    return [*figures, Figure("images", f"{card.scores.images}", f"{pixels / 1e6:.1f} million pixels")]


def _score_table(cards: Mapping[str, Scorecard]) -> Table:
    """A line for each score of the whole dataset, a column for each protocol."""
    columns = [{score.title: score.value for score in card.totals()} for card in cards.values()]
    titles = dict.fromkeys(title for column in columns for title in column)
    rows = [(title, *(column.get(title, math.nan) for column in columns)) for title in titles]
    return Table("The whole dataset", ("score, in percent", *cards), rows)


def _category_tables(cards: Mapping[str, Scorecard]) -> List[Table]:
    name, card = next(iter(cards.items()))
    rows = [(category, scores["iou"], scores["iiou"]) for category, scores in card.categories().items()]
    note = "As in cityscapesscripts; what does not occur is left out of the means."
    return [Table(f"Categories, {name}", ("category", "IoU", "iIoU"), rows, note)] if rows else []
