"""What a run reports while it trains: PaddleSeg's log line, and VisualDL's curves."""

import time
from typing import Dict, List, Mapping, Sequence

from compat import logger

import numpy as np
import paddle

from engine.evaluation.evaluator import Scores
from engine.parallel import Devices
from engine.recipe import Recipe
from engine.resilience.records import Records

STARVED = 1 / 3  # share of the time spent waiting for images from which on the log warns


class Progress:
    """Collects losses and times between log lines. Losses stay on the device until a line is written.

    Args:
        recipe: of the run.
        images: number of images in the training set.
        devices: of the run; losses are those of rank 0, and only its process writes.
        records: the files.
    """

    def __init__(self, recipe: Recipe, images: int, devices: Devices, records: Records):
        self.recipe = recipe
        self.images = images
        self.devices = devices
        self.records = records
        self.losses: List[Dict[str, paddle.Tensor]] = []  # of the batches since the last log line
        self.reading_is_judged = self.starvation_reported = False
        self.restart_clock()

    def state_dict(self) -> Dict[str, List[Dict[str, float]]]:
        """The losses since the last log line; waits for the device."""
        return {"pending_losses": [{name: float(loss) for name, loss in parts.items()} for parts in self.losses]}

    def set_state_dict(self, state: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
        """Take what `state_dict` returned."""
        self.losses = [
            {name: paddle.to_tensor(loss, "float32") for name, loss in parts.items()}
            for parts in state["pending_losses"]
        ]

    def restart_clock(self) -> None:
        """Leave out the time since the last line, which was not spent training."""
        self.started = self.batch_started = time.perf_counter()
        self.reading = 0.0
        self.timed_iterations = 0

    def batch_read(self) -> None:
        """To be called when a batch has arrived."""
        self.reading += time.perf_counter() - self.batch_started

    def batch_done(self, losses: Dict[str, paddle.Tensor]) -> None:
        """To be called after each batch with its 0-d losses, or with none where its iteration is skipped."""
        if losses:
            self.losses.append(losses)
        self.batch_started = time.perf_counter()

    def iteration_done(self, iteration: int, rate: float) -> None:
        """To be called after each update; writes a line every `log_iters` iterations and at the last."""
        self.timed_iterations += 1
        if self.line_is_due(iteration):
            self._log(iteration, rate)
        self.batch_started = time.perf_counter()

    def line_is_due(self, iteration: int) -> bool:
        """Whether `iteration_done` writes a line."""
        return iteration % self.recipe.log_iters == 0 or iteration == self.recipe.iters

    def _log(self, iteration: int, rate: float) -> None:
        means = self._mean_losses()
        batch_cost = (time.perf_counter() - self.started) / self.timed_iterations
        reader_cost = self.reading / self.timed_iterations
        images = self.recipe.batch_size * self.recipe.accumulate * self.devices.count  # of an iteration
        epoch = ((iteration - 1) * images) // self.images + 1
        logger.info(
            "[TRAIN] epoch: %d, iter: %d/%d, %slr: %.6f, batch_cost: %.4f, reader_cost: %.5f, "
            "ips: %.4f samples/sec | ETA %s",
            epoch,
            iteration,
            self.recipe.iters,
            "".join(f"{name}: {value:.4f}, " for name, value in means.items()),
            rate,
            batch_cost,
            reader_cost,
            images / batch_cost,
            clock((self.recipe.iters - iteration) * batch_cost),
        )
        self._warn_if_starved(reader_cost / batch_cost)
        scalars = {**means, "lr": rate, "batch_cost": batch_cost, "reader_cost": reader_cost}
        for name, value in scalars.items():
            self.records.scalar(f"Train/{name}", value, iteration)
        self.losses = []
        self.restart_clock()

    def _mean_losses(self) -> Dict[str, float]:
        """{name: mean since the last line}; a run resumed with other losses may hold losses of the former ones."""
        names = self.losses[-1] if self.losses else ()
        values = {name: [losses[name] for losses in self.losses if name in losses] for name in names}
        return {name: float(paddle.stack(parts).mean()) for name, parts in values.items()}

    def _warn_if_starved(self, share: float) -> None:
        """Warn once when training waits for images; not at the first line, when readers could not yet get ahead."""
        if self.reading_is_judged and share > STARVED and not self.starvation_reported:
            self.starvation_reported = True
            logger.warning(
                "%.0f %% of the time goes into waiting for images. Decode the dataset once, with: python -m "
                "tool.prepare_data cache; or read by more processes, with --num_workers",
                100 * share,
            )
        self.reading_is_judged = True

    def scores(self, protocol: str, scores: Scores, iteration: int) -> None:
        """Record an evaluation."""
        self.records.scalar(f"Evaluate/{protocol}/mIoU", scores.miou, iteration)
        self.records.scalar(f"Evaluate/{protocol}/Acc", scores.accuracy, iteration)

    def picture(self, picture: np.ndarray, iteration: int) -> None:
        """Record a picture [H, W, 3] uint8 RGB."""
        self.records.picture("Evaluate/pictures", picture, iteration)


def clock(seconds: float) -> str:
    """Seconds as hh:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"
