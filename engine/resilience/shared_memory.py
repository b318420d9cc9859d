"""The shared memory through which loader processes pass batches."""

import os
from pathlib import Path
from typing import Iterable

from compat import UserError

import numpy as np

SHARED_MEMORY = Path("/dev/shm")
BATCHES_OF_A_WORKER = 2  # that paddle prefetches


def check_shared_memory(batch: Iterable[np.ndarray], num_workers: int) -> None:
    """Check that batches fit before loader processes start, which would otherwise die of a bus error during the run.

    Args:
        batch: the arrays of one batch.
        num_workers: loader processes.

    Raises:
        UserError: when the batches that they prefetch would not fit.
    """
    if not SHARED_MEMORY.is_dir():  # not Linux
        return
    needed = sum(array.nbytes for array in batch) * BATCHES_OF_A_WORKER * num_workers
    space = os.statvfs(SHARED_MEMORY)
    free = space.f_bavail * space.f_frsize
    if free < needed:
        raise UserError(
            f"{SHARED_MEMORY}: {free / 2**20:.1f} MB are free, and {num_workers} loader processes need "
            f"{needed / 2**20:.1f} MB; use --num_workers 0, or give the container more (docker run --shm-size 8g)"
        )
