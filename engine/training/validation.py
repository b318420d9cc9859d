"""Validation while training: scores by the recipe's protocols, the best weights, pictures."""

import time
from pathlib import Path
from typing import ContextManager, Dict, Mapping, Optional

from compat import logger

import numpy as np
from paddle import nn

from data import SegmentationDataset
from engine.evaluation.evaluator import Scores, evaluate_protocols
from engine.evaluation.pictures import view_sample, view_sheet, write_picture
from engine.parallel import Devices, shard, sum_over_devices
from engine.recipe import Protocol
from engine.resilience.checkpoint import save_checkpoint
from engine.resilience.shared_memory import check_shared_memory
from engine.training.progress import Progress

PICTURED_IMAGES = 3


class Validation:
    """Evaluates a network during training, and keeps the best weights of each protocol.

    Args:
        dataset: to evaluate on.
        protocols: by name; the first one's best is `best_model/`, a further one's `best_model_NAME/`.
        save_dir: folder of these and of the pictures.
        devices: of the run; rank 0 writes.
        num_workers: loader processes.

    Raises:
        UserError: when there is too little shared memory for the loader processes.

    Attributes:
        best: {protocol: {"miou": best mIoU, "iteration": where}}.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        protocols: Dict[str, Protocol],
        save_dir: Path,
        devices: Devices,
        num_workers: int,
    ):
        self.dataset = dataset
        self.protocols = protocols
        self.save_dir = save_dir
        self.devices = devices
        self.num_workers = num_workers
        if num_workers:
            check_shared_memory(tuple(dataset.read(0)), num_workers)
        self.best: Dict[str, Dict[str, float]] = {}

    def state_dict(self) -> Dict[str, Dict[str, Dict[str, float]]]:
        """The best scores so far."""
        return {"best": {protocol: dict(best) for protocol, best in self.best.items()}}

    def set_state_dict(self, state: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
        """Take what `state_dict` returned, or {} of a run without validation."""
        self.best = {protocol: dict(best) for protocol, best in state.get("best", {}).items()}

    @property
    def best_iteration(self) -> Optional[int]:
        """The iteration of the first protocol's best weights; None before the first validation under it."""
        best = self.best.get(next(iter(self.protocols)))
        return int(best["iteration"]) if best else None

    def run(self, model: nn.Layer, iteration: int, progress: Progress, while_evaluating: ContextManager) -> None:
        """Evaluate under every protocol, save the weights that are better than all before, draw some predictions.

        Args:
            model: the network to evaluate.
            iteration: of the run.
            progress: records scores and pictures.
            while_evaluating: entered for the evaluation alone, before anything is written.
        """
        start = time.perf_counter()
        images = shard(len(self.dataset), self.devices)
        with while_evaluating:
            found = evaluate_protocols(model, self.dataset, self.protocols, self.num_workers, indices=images)
        found = {
            name: scores.summed(lambda sums: sum_over_devices(sums, self.devices)) for name, scores in found.items()
        }
        logger.info("[EVAL] %d images in %.1f s", len(self.dataset), time.perf_counter() - start)
        for rank, (name, scores) in enumerate(found.items()):
            folder = self.save_dir / ("best_model" if rank == 0 else f"best_model_{name}")
            self._keep_best(model, name, scores, folder, iteration, progress)
        if self.devices.rank == 0:
            self._draw(model, iteration, progress)

    def _keep_best(
        self, model: nn.Layer, protocol: str, scores: Scores, folder: Path, iteration: int, progress: Progress
    ) -> None:
        logger.info(
            "[EVAL] %s: #Images: %d mIoU: %.4f Acc: %.4f Kappa: %.4f",
            protocol,
            len(self.dataset),
            scores.miou,
            scores.accuracy,
            scores.kappa,
        )
        progress.scores(protocol, scores, iteration)
        if scores.miou > self.best.get(protocol, {}).get("miou", -1.0):
            self.best[protocol] = {"miou": scores.miou, "iteration": iteration}
            if self.devices.rank == 0:
                save_checkpoint(folder, model)
        best = self.best[protocol]
        logger.info(
            "[EVAL] The model with the best validation mIoU (%.4f, %s) was saved at iter %d.",
            best["miou"],
            protocol,
            best["iteration"],
        )

    def _draw(self, model: nn.Layer, iteration: int, progress: Progress) -> None:
        protocol = next(iter(self.protocols.values()))
        indices = np.linspace(0, len(self.dataset) - 1, min(PICTURED_IMAGES, len(self.dataset))).astype(int)
        views = [view_sample(model, self.dataset, int(index), protocol) for index in indices]
        picture = view_sheet(views, self.dataset.classes.palette())
        write_picture(self.save_dir / "pictures" / f"iter_{iteration}.png", picture)
        progress.picture(picture, iteration)
