"""What `tool.evaluate --engine` does: an exported network in the place of a model, and what its precision costs."""

from pathlib import Path
from typing import Callable, Optional

from compat import UserError, text_table

from data import SegmentationDataset
from engine.runtime import DEPLOY_FILE, load_network
from engine.runtime.layer import NetworkLayer
from tool.evaluation.comparison import Evaluated, Subject

HEADER = ("protocol", "engine", "precision", "mIoU", "drop against float32")


def is_exported(path: str) -> bool:
    """Whether the path is a folder of tool.export, or a file in one."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    return (folder / DEPLOY_FILE).is_file()


def exported_model(path: str, engine: str, precision: Optional[str], dataset: SegmentationDataset) -> NetworkLayer:
    """The exported network as a model; raises UserError for other classes than the dataset's, and as load_network."""
    network = load_network(path, engine, precision)
    if network.num_classes != dataset.num_classes:
        raise UserError(
            f"{path}: exported for {network.num_classes} classes, the recipe's dataset has {dataset.num_classes}"
        )
    return NetworkLayer(network, dataset.transform.normalize)


def drop_table(evaluated: Evaluated, evaluate: Callable[[Subject], Evaluated]) -> str:
    """mIoU under each protocol, in float32 and in the precision evaluated, of the same engine and export."""
    subject = evaluated.subject
    network = subject.model.network
    cards = {network.precision: evaluated.cards}
    if network.precision != "fp32":
        folder = Path(subject.path) if Path(subject.path).is_dir() else Path(subject.path).parent
        reference = exported_model(str(folder), network.engine, "fp32", subject.dataset)
        cards = {"fp32": evaluate(subject._replace(model=reference)).cards, **cards}
    rows = []
    for protocol in subject.protocols:
        for precision, scores in cards.items():
            miou = 100 * scores[protocol].scores.miou
            drop = 100 * cards["fp32"][protocol].scores.miou - miou
            rows.append((protocol, network.engine, precision, f"{miou:.2f}", f"{drop:+.2f} points"))
    return text_table(HEADER, rows, left=3)
