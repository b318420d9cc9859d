"""Warmup, then polynomial decay over what remains (original `optimizer_loss.py:Optimizer.get_lr`)."""

from paddle.optimizer.lr import LRScheduler

WARMUPS = ("linear", "exponential")


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
        warmup_start_lr: rate of iteration 0 where there is a warmup; above 0 if that is exponential.
        warmup: `linear`, or `exponential` (the rate grows by the same factor in every iteration).
    """
    if iteration < warmup_iters:
        progress = iteration / warmup_iters
        if warmup == "exponential":
            return warmup_start_lr * (learning_rate / warmup_start_lr) ** progress
        return warmup_start_lr + (learning_rate - warmup_start_lr) * progress
    remaining = 1 - (iteration - warmup_iters) / max(1, iters - warmup_iters)
    return end_lr + (learning_rate - end_lr) * max(0.0, remaining) ** power


class WarmupPoly(LRScheduler):
    """`warmup_poly` as Paddle's optimisers take it; `step()` once after each iteration.

    Args:
        schedule: the keyword arguments of `warmup_poly`, without the iteration.

    Raises:
        ValueError: for an unknown warmup, or an exponential one that starts at 0.
    """

    def __init__(self, learning_rate: float, iters: int, **schedule):
        warmup = schedule.get("warmup", "linear")
        if warmup not in WARMUPS:
            raise ValueError(f"warmup: {warmup!r} is not one of {', '.join(WARMUPS)}")
        if warmup == "exponential" and schedule.get("warmup_iters") and schedule.get("warmup_start_lr", 0) <= 0:
            raise ValueError("warmup_start_lr: an exponential warmup cannot start at 0")
        self.schedule = {"learning_rate": learning_rate, "iters": iters, **schedule}
        super().__init__(learning_rate)

    def get_lr(self) -> float:
        return warmup_poly(self.last_epoch, **self.schedule)
