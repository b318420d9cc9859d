"""Warmup, with which every schedule begins (original `optimizer_loss.py:Optimizer.get_lr`)."""

from typing import Any, Callable

from paddle.optimizer.lr import LRScheduler

WARMUPS = ("linear", "exponential")


def rate_in_warmup(
    iteration: int, learning_rate: float, warmup_iters: int, warmup_start_lr: float, warmup: str
) -> float:
    """Learning rate of an iteration below `warmup_iters`.

    Args:
        iteration: 0-based.
        learning_rate: the rate that the warmup reaches at iteration `warmup_iters`.
        warmup_iters: length of the warmup.
        warmup_start_lr: rate of iteration 0; above 0 if the warmup is exponential.
        warmup: `linear`, or `exponential` (the rate grows by the same factor in every iteration).
    """
    progress = iteration / warmup_iters
    if warmup == "exponential":
        return warmup_start_lr * (learning_rate / warmup_start_lr) ** progress
    return warmup_start_lr + (learning_rate - warmup_start_lr) * progress


class Schedule(LRScheduler):
    """Paddle's scheduler of a rate that is a pure function of the iteration; call `step()` after each iteration.

    Args:
        rate: (iteration, **options) -> learning rate.
        learning_rate: the rate that the warmup reaches.
        options: further arguments of `rate`.

    Raises:
        ValueError: for an unknown warmup, or an exponential one that starts at 0.
    """

    def __init__(self, rate: Callable[..., float], learning_rate: float, **options: Any):
        warmup = options.get("warmup", "linear")
        if warmup not in WARMUPS:
            raise ValueError(f"warmup: {warmup!r} is not one of {', '.join(WARMUPS)}")
        if warmup == "exponential" and options.get("warmup_iters") and options.get("warmup_start_lr", 0) <= 0:
            raise ValueError("warmup_start_lr: an exponential warmup cannot start at 0")
        self.rate = rate
        self.schedule = {"learning_rate": learning_rate, **options}
        super().__init__(learning_rate)

    def get_lr(self) -> float:
        return self.rate(self.last_epoch, **self.schedule)
