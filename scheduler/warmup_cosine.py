"""Warmup, then half a cosine over what remains (Loshchilov and Hutter 2017, SGDR, without restarts)."""

import math
from typing import Any

from scheduler.warmup import Schedule, rate_in_warmup


def warmup_cosine(
    iteration: int,
    learning_rate: float,
    iters: int,
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
        end_lr: the rate at the end.
        warmup_iters: length of the warmup; 0 for none.
        warmup_start_lr: see rate_in_warmup.
        warmup: see rate_in_warmup.
    """
    if iteration < warmup_iters:
        return rate_in_warmup(iteration, learning_rate, warmup_iters, warmup_start_lr, warmup)
    done = min(1.0, (iteration - warmup_iters) / max(1, iters - warmup_iters))
    return end_lr + (learning_rate - end_lr) * (1 + math.cos(math.pi * done)) / 2


class WarmupCosine(Schedule):
    """`warmup_cosine` as Paddle's optimisers take it; its arguments without the iteration. Raises as Schedule."""

    def __init__(self, learning_rate: float, iters: int, **schedule: Any):
        super().__init__(warmup_cosine, learning_rate, iters=iters, **schedule)
