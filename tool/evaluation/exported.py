"""What `tool.evaluate --engine` does: an exported network as it ships, and what its precision costs."""

from pathlib import Path
from typing import Callable

from compat import text_table

from engine.runtime import DEPLOY_FILE, open_network
from tool.evaluation.comparison import Evaluated, Subject

HEADER = ("protocol", "engine", "precision", "mIoU", "drop against float32")


def is_exported(path: str) -> bool:
    """Whether the path is a folder of tool.export, or a file in one."""
    return (_folder(path) / DEPLOY_FILE).is_file()


def drop_table(evaluated: Evaluated, evaluate: Callable[[Subject], Evaluated]) -> str:
    """mIoU under each protocol, in float32 and in the precision evaluated, of the same engine and export."""
    subject = evaluated.subject
    network = subject.model
    cards = {network.precision: evaluated.cards}
    if network.precision != "fp32":
        folder = str(_folder(subject.path))
        reference = open_network(subject.recipe, subject.dataset.num_classes, folder, network.engine, "fp32")
        cards = {"fp32": evaluate(subject._replace(model=reference)).cards, **cards}
    rows = []
    for protocol in subject.protocols:
        for precision, scores in cards.items():
            miou = 100 * scores[protocol].scores.miou
            drop = 100 * cards["fp32"][protocol].scores.miou - miou
            rows.append((protocol, network.engine, precision, f"{miou:.2f}", f"{drop:+.2f} points"))
    return text_table(HEADER, rows, left=3)


def _folder(path: str) -> Path:
    return Path(path) if Path(path).is_dir() else Path(path).parent
