"""Warmup, then polynomial decay over what remains (original `optimizer_loss.py:Optimizer.get_lr`)."""

from typing import Any

from scheduler.warmup import Schedule, rate_in_warmup


def warmup_poly(
    iteration: int,
    learning_rate: float,
    iters: int,
    power: float = 0.9,
    end_lr: float = 0.0,
    warmup_iters: int = 0,
    warmup_start_lr: float = 0.0,
    warmup: str = "linear",
) -> float:
    """Learning rate of an iteration.

    Args:
        iteration: 0-based.
        learning_rate: the rate that the warmup reaches at iteration `warmup_iters`.
        iters: length of the run; the decay ends there.
        power: of the decay; 1 is a straight line.
        end_lr: the rate that the decay approaches.
        warmup_iters: length of the warmup; 0 for none.
        warmup_start_lr: see rate_in_warmup.
        warmup: see rate_in_warmup.
    """
    if iteration < warmup_iters:
        return rate_in_warmup(iteration, learning_rate, warmup_iters, warmup_start_lr, warmup)
    remaining = 1 - (iteration - warmup_iters) / max(1, iters - warmup_iters)
    return end_lr + (learning_rate - end_lr) * max(0.0, remaining) ** power


class WarmupPoly(Schedule):
    """`warmup_poly` as Paddle's optimisers take it; its arguments without the iteration. Raises as Schedule."""

    def __init__(self, learning_rate: float, iters: int, **schedule: Any):
        super().__init__(warmup_poly, learning_rate, iters=iters, **schedule)
