"""One iteration: forward and backward passes of its batches, then the update."""

import contextlib
from typing import Any, Callable, Dict, Mapping, Optional

import paddle
from paddle import nn

from engine.parallel import Devices, replicate, without_exchange
from engine.resilience.divergence import LossGuard
from engine.training.ema import WeightAverage
from engine.training.gradients import Distiller, add_gradients
from engine.training.precision import Precision


class TrainStep:
    """Trains a network batch by batch.

    Args:
        model: the network, with its starting or resumed weights.
        criterion: (outputs, labels) -> (total loss, {name: part}).
        optimizer: updates the parameters of model and criterion.
        schedule: the optimiser's learning rate.
        precision: that the network is computed in.
        average: builds the moving average of the network's weights; None for no average.
        guard: decides for which losses there is a backward pass.
        accumulate: number of batches in an iteration.
        devices: of the run.
        distiller: adds the losses against a teacher, see engine.training.distillation; None without a teacher.
        shrink: called with the learning rate after each update, see engine.training.sparsity; None for no penalty.
    """

    def __init__(
        self,
        model: nn.Layer,
        criterion: nn.Layer,
        optimizer: paddle.optimizer.Optimizer,
        schedule: paddle.optimizer.lr.LRScheduler,
        precision: Precision,
        average: Optional[Callable[[nn.Layer], WeightAverage]],
        guard: LossGuard,
        accumulate: int,
        devices: Devices,
        distiller: Optional[Distiller] = None,
        shrink: Optional[Callable[[float], None]] = None,
    ):
        self.model = model
        self.criterion = criterion
        self.optimizer = optimizer
        self.schedule = schedule
        self.precision = precision
        self.guard = guard
        self.accumulate = accumulate
        self.distiller = distiller
        self.shrink = shrink
        precision.prepare(model, optimizer)
        self.average = average(model) if average else None
        self.replica = replicate(model, devices)

    def __call__(self, number: int, images: paddle.Tensor, labels: paddle.Tensor) -> Dict[str, paddle.Tensor]:
        """Train on batch `number` of the run, and update the weights if it is the last of its iteration.

        Args:
            number: counted from the start of the run.
            images: [N, 3, H, W] float32.
            labels: [N, H, W] of any integer type.

        Returns:
            The losses of `add_gradients`; an empty mapping if the iteration is skipped.
        """
        if number % self.accumulate == 0:
            self.guard.begin_iteration(self.model)
        complete = (number + 1) % self.accumulate == 0
        with contextlib.nullcontext() if complete else without_exchange(self.replica):
            losses = add_gradients(
                self.replica,
                self.criterion,
                images,
                labels,
                1 / self.accumulate,
                self.precision,
                lambda losses: self.guard.accepts(number, losses),
                self.distiller,
            )
        if complete:
            self._update((number + 1) // self.accumulate)
        return {} if self.guard.skipping else losses

    def applied_average(self) -> contextlib.AbstractContextManager:
        """Inside, the network has the averaged weights, if there is an average."""
        return self.average.applied() if self.average else contextlib.nullcontext()

    def state_dict(self) -> Dict[str, Any]:
        """The states of criterion, loss scaler and average: what a checkpoint needs besides network and optimiser."""
        state = {"criterion": self.criterion.state_dict(), "scaler": self.precision.scaler.state_dict()}
        return {**state, "average": self.average.state_dict()} if self.average else state

    def set_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` returned; an average that the checkpoint lacks starts as a copy of the weights."""
        self.criterion.set_state_dict(state["criterion"])
        if state["scaler"]:
            self.precision.scaler.load_state_dict(state["scaler"])
        if self.average and "average" in state:
            self.average.set_state_dict(state["average"])

    def _update(self, iteration: int) -> None:
        if self.guard.skipping:
            self.guard.undo()
        else:
            self.precision.update(self.optimizer)
            if self.shrink:
                self.shrink(self.optimizer.get_lr())
            if self.average:
                self.average.update(iteration)
        # Freed, not zeroed: the next forward pass can have their memory.
        self.optimizer.clear_grad(set_to_zero=False)
        self.schedule.step()
