"""Exponential moving average of a network's weights, which is what is evaluated and kept as the best."""

import contextlib
from typing import Dict, Iterator, Mapping

from compat import UserError

import paddle
from paddle import nn


class WeightAverage:
    """average <- decay * average + (1 - decay) * weight, after each update; running statistics of batch norm likewise.

    As in TensorFlow's ExponentialMovingAverage the decay is at most (1 + n) / (10 + n) after n updates, so that the
    random weights of the start are soon forgotten.

    Args:
        model: whose weights are averaged; the average starts as a copy.
        decay: in (0, 1).

    Raises:
        UserError: for a decay out of range.
    """

    def __init__(self, model: nn.Layer, decay: float):
        if not 0 < decay < 1:
            raise UserError(f"ema_decay: {decay} is not in (0, 1); 0 is for no average")
        self.decay = decay
        self.weights = model.state_dict(use_hook=False)
        self.start()

    def start(self) -> None:
        """Make the average a copy of the weights."""
        self.averages = {name: weight.astype("float32").clone() for name, weight in self.weights.items()}

    @paddle.no_grad()
    def update(self, updates: int) -> None:
        """To be called when the optimiser has made `updates` updates."""
        share = 1 - min(self.decay, (1 + updates) / (10 + updates))
        for name, weight in self.weights.items():
            average = self.averages[name]
            paddle.assign(average + share * (weight.astype("float32") - average), average)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the average's weights meanwhile."""
        own = {name: weight.clone() for name, weight in self.weights.items()}
        try:
            self._put(self.averages)
            yield
        finally:
            self._put(own)

    def state_dict(self) -> Dict[str, paddle.Tensor]:
        return dict(self.averages)

    def set_state_dict(self, averages: Mapping[str, paddle.Tensor]) -> None:
        for name, average in self.averages.items():
            paddle.assign(averages[name], average)

    @paddle.no_grad()
    def _put(self, values: Mapping[str, paddle.Tensor]) -> None:
        for name, weight in self.weights.items():
            paddle.assign(values[name].astype(weight.dtype), weight)
