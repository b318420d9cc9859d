"""Losses that are not finite: the run stops before they reach anything that is kept, or goes on without them.

`stop` checks losses where they are read anyway, at log lines and before checkpoints, so that the host never waits for
the device in between; on the CPU, where nothing is computed in the background, it checks each one before its backward
pass. `skip` must know before each update, so it checks every batch on any device. A batch to be reported is read again,
since it is a function of its number.
"""

from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from compat import UserError, logger

import numpy as np
import paddle
from paddle import nn

from engine.parallel import Devices, any_device, running_statistics

POLICIES = ("stop", "skip")


class Batch(NamedTuple):
    """A training batch: images [N, H, W, 3] uint8 RGB, labels [N, H, W] uint8, and the files of the N images."""

    images: np.ndarray
    labels: np.ndarray
    files: Sequence[str]


class LossGuard:
    """Watches the losses of a run.

    Args:
        policy: `stop` or `skip`.
        max_skipped: iterations that `skip` may skip before it stops the run.
        accumulate: batches of an iteration.
        read_batch: (batch number, counted from the start of the run) -> this device's batch.
        save_dir: folder to write a batch to whose loss is not finite.
        devices: of the run; they decide together.

    Attributes:
        skipped: number of iterations skipped so far.

    Raises:
        UserError: for an unknown policy.
    """

    def __init__(
        self,
        policy: str,
        max_skipped: int,
        accumulate: int,
        read_batch: Callable[[int], Batch],
        save_dir: Path,
        devices: Devices,
    ):
        if policy not in POLICIES:
            raise UserError(f"--on_nan {policy}: use one of {', '.join(POLICIES)}")
        self.skips = policy == "skip"
        self.max_skipped = max_skipped
        self.accumulate = accumulate
        self.read_batch = read_batch
        self.save_dir = save_dir
        self.devices = devices
        self.checks_at_once = self.skips or paddle.get_device() == "cpu"
        self.skipped = 0
        self.skipping = False
        self._unchecked: List[Tuple[int, Dict[str, paddle.Tensor]]] = []
        self._statistics: List[Tuple[paddle.Tensor, paddle.Tensor]] = []

    def state_dict(self) -> Dict[str, int]:
        """The number of iterations skipped so far."""
        return {"skipped": self.skipped}

    def set_state_dict(self, state: Mapping[str, int]) -> None:
        """Take what `state_dict` returned."""
        self.skipped = state["skipped"]

    def begin_iteration(self, model: nn.Layer) -> None:
        """Remember what a forward pass changes (batch norm's running statistics), if iterations may be skipped."""
        self.skipping = False
        if self.skips:
            self._statistics = [(tensor, tensor.clone()) for tensor in running_statistics(model)]

    def accepts(self, number: int, losses: Dict[str, paddle.Tensor]) -> bool:
        """Whether the losses of batch `number` may go backward; to be called before they do.

        Once an iteration is being skipped, the losses of its other batches are not checked.

        Raises:
            UserError: when they are not finite and the run is to stop.
        """
        if self.skipping:
            return False
        self._unchecked.append((number, losses))
        if self.checks_at_once:
            self.check()
        return not self.skipping

    def check(self, alone: bool = False) -> None:
        """Check the losses since the last check; raises UserError when the run is to stop.

        With `alone` this process decides for itself, for where the other processes do not make this call.
        """
        unchecked, self._unchecked = self._unchecked, []
        bad = [(number, losses) for number, losses in unchecked if not _finite(losses.values())]
        if not (bool(bad) if alone else any_device(bool(bad), self.devices)):
            return
        words = self._describe(*bad[0]) if bad else "the loss of another device is not finite; its log says more"
        if not self.skips:
            raise UserError(
                f"{words}. No checkpoint holds it: go on with --resume_model auto and a lower --learning_rate, or with "
                "--on_nan skip"
            )
        if self.skipped >= self.max_skipped:  # a resumed run may allow fewer than were skipped before
            raise UserError(
                f"{words}. {self.skipped} iterations were skipped before, and --max_skipped allows {self.max_skipped}"
            )
        self.skipping = True
        self.skipped += 1
        logger.warning("%s. This iteration updates nothing (%d of at most %d)", words, self.skipped, self.max_skipped)

    def undo(self) -> None:
        """Restore what the forward passes of a skipped iteration have changed."""
        for statistic, before in self._statistics:
            paddle.assign(before, statistic)

    def check_weights(self, model: nn.Layer, iteration: int, alone: bool = False) -> None:
        """To be called before weights are saved; raises UserError when one is not finite, whatever the losses were."""
        bad = not _finite(model.parameters())
        if bad if alone else any_device(bad, self.devices):
            raise UserError(
                f"iteration {iteration}: the losses were finite, but a weight is not. No checkpoint holds it: go on "
                "with --resume_model auto and a lower --learning_rate"
            )

    def _describe(self, number: int, losses: Dict[str, paddle.Tensor]) -> str:
        """Write the batch to a file; returns the message that names iteration, losses, images and file."""
        iteration = number // self.accumulate + 1
        batch = self.read_batch(number)
        rank = f"_rank_{self.devices.rank}" if self.devices.count > 1 else ""
        path = self.save_dir / f"not_finite_iter_{iteration}{rank}.npz"
        np.savez_compressed(path, images=batch.images, labels=batch.labels, files=np.asarray(batch.files))
        parts = ", ".join(f"{name} {float(loss):g}" for name, loss in losses.items())
        return (
            f"iteration {iteration}: the loss is not finite ({parts}) on {', '.join(batch.files)}; "
            f"that batch is in {path}"
        )


def _finite(tensors) -> bool:
    """Whether every number in the tensors is finite; waits for the device once."""
    checks = [paddle.isfinite(tensor).all() for tensor in tensors]
    return bool(paddle.stack(checks).all()) if checks else True
