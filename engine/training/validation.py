"""Validation while training: scores by the recipe's protocols, the best weights, pictures."""

import shutil
import time
from pathlib import Path
from typing import Any, ContextManager, Dict, Mapping, Optional

from compat import logger

import numpy as np
from paddle import nn

from data import SegmentationDataset
from engine.evaluation.evaluator import Scores, evaluate_protocols
from engine.evaluation.pictures import view_sample, view_sheet, write_picture
from engine.parallel import Devices, shard, sum_over_devices
from engine.recipe import Protocol
from engine.resilience.checkpoint import save_checkpoint, set_aside, weights_checksum
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
        self.checksums: Dict[str, str] = {}  # {protocol: SHA-256 of the best weights}; version 1.0.0 had none

    def state_dict(self) -> Dict[str, Dict[str, Any]]:
        """The best scores so far, and the checksums of their weights."""
        best = {protocol: dict(best) for protocol, best in self.best.items()}
        return {"best": best, "checksums": dict(self.checksums)}

    def set_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Take what `state_dict` returned, or {} of a run without validation; forget weights that were replaced."""
        self.best = {protocol: dict(best) for protocol, best in state.get("best", {}).items()}
        self.checksums = dict(state.get("checksums", {}))
        for protocol in self.protocols:
            folder = self._folder(protocol)
            if protocol in self.best and folder.exists() and not self._wrote(folder, protocol):
                logger.warning(
                    "%s: holds other weights than those of iteration %d, which this run wrote there; its next "
                    "validation counts as the best",
                    folder,
                    self.best.pop(protocol)["iteration"],
                )

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
        for name, scores in found.items():
            self._keep_best(model, name, scores, iteration, progress)
        if self.devices.rank == 0:
            self._draw(model, iteration, progress)

    def _folder(self, protocol: str) -> Path:
        """Where the best weights under a protocol are."""
        return self.save_dir / ("best_model" if protocol == next(iter(self.protocols)) else f"best_model_{protocol}")

    def _wrote(self, folder: Path, protocol: str) -> bool:
        """Whether the weights in the folder are the best that this run has found."""
        known = self.checksums.get(protocol)
        return protocol in self.best and known in (None, weights_checksum(folder))

    def _keep_best(self, model: nn.Layer, protocol: str, scores: Scores, iteration: int, progress: Progress) -> None:
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
            if self.devices.rank == 0:
                self._write_best(model, protocol)
            self.best[protocol] = {"miou": scores.miou, "iteration": iteration}
        best = self.best[protocol]
        logger.info(
            "[EVAL] The model with the best validation mIoU (%.4f, %s) was saved at iter %d.",
            best["miou"],
            protocol,
            best["iteration"],
        )

    def _write_best(self, model: nn.Layer, protocol: str) -> None:
        """Replace the best weights of this run; those of an earlier run are set aside."""
        folder = self._folder(protocol)
        aside = set_aside(folder) if folder.is_dir() and not self._wrote(folder, protocol) else None
        save_checkpoint(folder, model)
        self.checksums[protocol] = weights_checksum(folder)
        if aside and weights_checksum(aside) == self.checksums[protocol]:
            shutil.rmtree(aside)  # of this validation, whose run was killed before its checkpoint
        elif aside:
            logger.warning("%s of an earlier run is now %s", folder, aside)

    def _draw(self, model: nn.Layer, iteration: int, progress: Progress) -> None:
        protocol = next(iter(self.protocols.values()))
        indices = np.linspace(0, len(self.dataset) - 1, min(PICTURED_IMAGES, len(self.dataset))).astype(int)
        views = [view_sample(model, self.dataset, int(index), protocol) for index in indices]
        picture = view_sheet(views, self.dataset.classes.palette())
        write_picture(self.save_dir / "pictures" / f"iter_{iteration}.png", picture)
        progress.picture(picture, iteration)
