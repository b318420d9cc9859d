"""Evaluation of exported networks: what `tool.evaluate --engine` does."""

from pathlib import Path
from typing import Dict, List, Mapping, Optional

from compat import UserError

from data import SegmentationDataset
from engine.engines import Network, load_network
from engine.engines.layer import NetworkLayer
from engine.evaluator import Scores, evaluate
from engine.recipe import Protocol


def load_with_reference(path: str, engine: str, precision: Optional[str], num_classes: int) -> List[Network]:
    """The float32 network, and the wanted one where that is another; raises UserError for other classes."""
    network = load_network(path, engine, precision)
    if network.num_classes != num_classes:
        raise UserError(f"{path}: exported for {network.num_classes} classes, the recipe's dataset has {num_classes}")
    if network.precision == "fp32":
        return [network]
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    return [load_network(folder, engine, "fp32"), network]


def evaluate_networks(
    networks: List[Network], dataset: SegmentationDataset, protocol: Protocol, num_workers: int = 0
) -> Dict[str, Scores]:
    """{precision: scores} of each network on the dataset, under one protocol."""
    return {
        network.precision: evaluate(
            NetworkLayer(network, dataset.transform.normalize), dataset, protocol, num_workers, progress=True
        )
        for network in networks
    }


def drop_table(engine: str, scores: Mapping[str, Scores]) -> str:
    """A line for each precision: mIoU, accuracy, and what is lost against float32, in points."""
    lines = [f"{'engine':<12} {'precision':<10} {'mIoU':>6} {'accuracy':>9} {'drop':>6}"]
    reference = scores["fp32"].miou
    for precision, score in scores.items():
        drop = 100 * (reference - score.miou)
        lines.append(
            f"{engine:<12} {precision:<10} {100 * score.miou:6.2f} {100 * score.accuracy:9.2f} {drop + 0.0:6.2f}"
        )
    return "\n".join(lines)
