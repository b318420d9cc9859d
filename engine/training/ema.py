"""Exponential moving average of a network's weights, which is evaluated and saved as the best model."""

import contextlib
import functools
import math
from collections import defaultdict
from typing import Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

from compat import UserError

import paddle
from paddle import nn

from engine.recipe import Recipe

DecayAfter = Callable[[float, int], float]


def hyperbolic_ramp(decay: float, updates: int) -> float:
    """At most (1 + n) / (10 + n) after n updates, as in TensorFlow's ExponentialMovingAverage."""
    return min(decay, (1 + updates) / (10 + updates))


def exponential_ramp(decay: float, updates: int, iters: int, beta: float = 15.0) -> float:
    """decay * (1 - exp(-beta * n / iters)) after n of a run's updates, as in super-gradients."""
    return decay * (1 - math.exp(-beta * updates / iters))


def ramp_of(recipe: Recipe) -> DecayAfter:
    """How a recipe's decay grows."""
    if recipe.ema_ramp == "hyperbolic":
        return hyperbolic_ramp
    return functools.partial(exponential_ramp, iters=recipe.iters, beta=recipe.ema_beta)


class WeightAverage:
    """average <- average + (1 - decay) * (weight - average), after each update; batch norm's statistics likewise.

    The decay grows to its full value, so that the random weights of the start are soon forgotten. Weights whose shapes
    differ only in the first dimension are averaged as one tensor: the 331 of STDC2-Seg become 15, which take 60 kernel
    launches an update.

    Args:
        model: its weights are averaged; the average starts as a copy.
        decay: full decay, in (0, 1).
        decay_after: (full decay, number of updates) -> decay of that update.

    Raises:
        UserError: for a decay out of range.
    """

    def __init__(self, model: nn.Layer, decay: float, decay_after: DecayAfter = hyperbolic_ramp):
        if not 0 < decay < 1:
            raise UserError(f"ema_decay: {decay} is not in (0, 1); 0 is for no average")
        self.decay = decay
        self.decay_after = decay_after
        # Without the hook that amp.decorate sets for O2, under which a state dict holds copies.
        self.weights: Mapping[str, paddle.Tensor] = model.state_dict(use_hook=False)
        self.groups = _names_by_kind(self.weights)
        with paddle.no_grad():
            self.averages = [_joined([self.weights[name] for name in names]) for names in self.groups]

    @paddle.no_grad()
    def update(self, updates: int) -> None:
        """To be called after each update of the optimiser; `updates` counts them, including this one."""
        share = 1 - self.decay_after(self.decay, updates)
        for names, average in zip(self.groups, self.averages):
            difference = _joined([self.weights[name] for name in names])
            average.add_(difference.subtract_(average).scale_(share))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the network has the averaged weights."""
        own = {name: weight.clone() for name, weight in self.weights.items()}
        try:
            self._put(self.state_dict())
            yield
        finally:
            self._put(own)

    @paddle.no_grad()
    def state_dict(self) -> Dict[str, paddle.Tensor]:
        """{name: average} in the network's order, each float32 in its weight's shape; copies."""
        averages: Dict[str, paddle.Tensor] = {}
        for names, average in zip(self.groups, self.averages):
            averages.update(zip(names, _parted(average, [self.weights[name] for name in names])))
        for name, average in averages.items():
            average.name = name  # Paddle numbers tensors and saves their names: so equal runs write equal files
        return {name: averages[name] for name in self.weights}

    @paddle.no_grad()
    def set_state_dict(self, averages: Mapping[str, paddle.Tensor]) -> None:
        """Take what `state_dict` returned."""
        self.averages = [_joined([averages[name] for name in names]) for names in self.groups]

    @paddle.no_grad()
    def _put(self, values: Mapping[str, paddle.Tensor]) -> None:
        for name, weight in self.weights.items():
            paddle.assign(values[name].astype(weight.dtype), weight)


def _names_by_kind(tensors: Mapping[str, paddle.Tensor]) -> List[List[str]]:
    """The names of tensors that can be joined along their first dimension."""
    kinds: Dict[Tuple, List[str]] = defaultdict(list)
    for name, tensor in tensors.items():
        kinds[tensor.dtype, len(tensor.shape), tuple(tensor.shape[1:])].append(name)
    return list(kinds.values())


def _joined(tensors: Sequence[paddle.Tensor]) -> paddle.Tensor:
    """One float32 tensor of its own memory."""
    joined = paddle.concat(tensors) if tensors[0].shape else paddle.stack(tensors)
    return joined if joined.dtype == paddle.float32 else joined.astype("float32")


def _parted(joined: paddle.Tensor, like: Sequence[paddle.Tensor]) -> List[paddle.Tensor]:
    """What `_joined` joined, in the shapes of `like`; copies."""
    if not like[0].shape:
        return [part.clone() for part in paddle.unstack(joined)]
    return [part.clone() for part in paddle.split(joined, [tensor.shape[0] for tensor in like])]
