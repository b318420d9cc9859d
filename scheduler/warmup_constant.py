"""Warmup, then one rate to the end."""

from typing import Any

from scheduler.warmup import Schedule, rate_in_warmup


def warmup_constant(
    iteration: int,
    learning_rate: float,
    warmup_iters: int = 0,
    warmup_start_lr: float = 0.0,
    warmup: str = "linear",
) -> float:
    """Learning rate of an iteration.

    Args:
        iteration: 0-based.
        learning_rate: the rate from iteration `warmup_iters` on.
        warmup_iters: length of the warmup; 0 for none.
        warmup_start_lr: see rate_in_warmup.
        warmup: see rate_in_warmup.
    """
    if iteration < warmup_iters:
        return rate_in_warmup(iteration, learning_rate, warmup_iters, warmup_start_lr, warmup)
    return learning_rate


class WarmupConstant(Schedule):
    """`warmup_constant` as Paddle's optimisers take it; its arguments without the iteration. Raises as Schedule."""

    def __init__(self, learning_rate: float, **schedule: Any):
        super().__init__(warmup_constant, learning_rate, **schedule)
