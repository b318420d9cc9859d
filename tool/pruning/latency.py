"""Finds how much of a network to keep for a given latency, by timing pruned networks."""

import tempfile
from pathlib import Path
from typing import Callable, Tuple

from compat import UserError, logger

import numpy as np
from paddle import nn

from engine.export import export_network
from engine.pruning.pruner import Pruned, UnreachableError
from engine.runtime import Description, load_network
from tool.speed.clock import time_alternating

STEPS = 6  # of the bisection: shares are multiples of 1/64


def share_for_latency(
    model: nn.Layer, milliseconds: float, prune_to: Callable[[float], Pruned], latency: Callable[[nn.Layer], float]
) -> float:
    """The largest share of the multiply-accumulates, to 1/64, at which the network takes at most `milliseconds`.

    Args:
        model: the unpruned network.
        milliseconds: the target.
        prune_to: returns the network pruned to a share; raises UnreachableError if that cannot be reached.
        latency: measures the milliseconds of a network.

    Raises:
        UserError: if the network is fast enough already, the target cannot be reached, or pruning fails otherwise.
    """
    lowest = latency(model)
    if lowest <= milliseconds:
        raise UserError(f"--latency {milliseconds:g}: the network takes {lowest:.1f} ms already; name a shorter time")
    low, high, found = 0.0, 1.0, 0.0
    for _ in range(STEPS):
        share = (low + high) / 2
        try:
            pruned = prune_to(share)
        except UnreachableError:
            low = share
            continue
        taken = latency(pruned.model)
        logger.info("%.3f of the multiply-accumulates: %.1f ms", pruned.share, taken)
        lowest = min(lowest, taken)
        if taken <= milliseconds:
            low = found = share
        else:
            high = share
    if not found:
        raise UserError(
            f"--latency {milliseconds:g}: the fastest pruned network takes {lowest:.1f} ms; name a longer time"
        )
    return found


def measure(model: nn.Layer, num_classes: int, engine: str, size: Tuple[int, int], threads: int) -> float:
    """Median milliseconds of 30 calls from one uint8 image of `size` (h, w) to its class map, in float32."""
    with tempfile.TemporaryDirectory() as folder:
        export_network(model, Description(num_classes, size=size), Path(folder), [engine])
        network = load_network(folder, engine, threads=threads)
        batch = network.prepare(np.zeros([1, *size, 3], np.uint8))
        return time_alternating({"": lambda: network.run(batch)})[""].p50
