"""For `tool.evaluate --engine`: the mIoU that an exported network loses by its precision."""

from typing import Callable

from compat import text_table

from engine.runtime import exported_folder, open_network
from tool.evaluation.comparison import Evaluated, Subject

HEADER = ("protocol", "engine", "precision", "mIoU", "drop against float32")


def drop_table(evaluated: Evaluated, evaluate: Callable[[Subject], Evaluated]) -> str:
    """The mIoU of an export under each protocol, in the evaluated precision and in float32 by the same engine.

    Args:
        evaluated: an exported network with its scores.
        evaluate: returns the scores of another network; called for float32 if `evaluated` is in another precision.
    """
    subject = evaluated.subject
    network = subject.model
    cards = {network.precision: evaluated.cards}
    if network.precision != "fp32":
        folder = exported_folder(subject.path)
        reference = open_network(subject.recipe, subject.dataset.num_classes, folder, network.engine, "fp32")
        cards = {"fp32": evaluate(subject._replace(model=reference)).cards, **cards}
    rows = []
    for protocol in subject.protocols:
        for precision, scores in cards.items():
            miou = 100 * scores[protocol].scores.miou
            drop = 100 * cards["fp32"][protocol].scores.miou - miou
            rows.append((protocol, network.engine, precision, f"{miou:.2f}", f"{drop:+.2f} points"))
    return text_table(HEADER, rows, left=3)
