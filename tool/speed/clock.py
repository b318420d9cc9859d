"""Timing of calls whose latencies are compared."""

import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple

import numpy as np


class Latency(NamedTuple):
    """Milliseconds of one call: median, 90th and 99th percentile over `runs` calls."""

    p50: float
    p90: float
    p99: float
    runs: int


ROUNDS = 3


def timed_runs(runs: int, rounds: int = ROUNDS) -> int:
    """The number of runs that are timed where `runs` are asked for: a multiple of the rounds."""
    return -(-runs // rounds) * rounds


def time_alternating(
    calls: Mapping[str, Callable[[], Any]], runs: int = 30, warmup: int = 3, rounds: int = ROUNDS
) -> Dict[str, Latency]:
    """Latencies of several calls that alternate, so that a slow phase of the machine affects all of them.

    Args:
        calls: by name.
        runs: timed runs of each call, spread over the rounds and rounded up by `timed_runs`.
        warmup: runs of each call that are not timed, in the first round; every further round starts with one.
        rounds: how often each call has its turn.
    """
    seconds: Dict[str, List[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name, call in calls.items():
            for _ in range(warmup if turn == 0 else 1):
                call()
            for _ in range(timed_runs(runs, rounds) // rounds):
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
    return {name: latency_of(values) for name, values in seconds.items()}


def latency_of(seconds: List[float]) -> Latency:
    """Percentiles of durations in seconds, interpolated linearly."""
    p50, p90, p99 = (float(value) for value in np.percentile(np.multiply(seconds, 1000), (50, 90, 99)))
    return Latency(p50, p90, p99, len(seconds))
