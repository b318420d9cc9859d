"""How many CPU threads Paddle uses."""

import os
from pathlib import Path


def physical_cores() -> int:
    """Number of physical cores that this process may run on; at least 1.

    Hyper-threads of one core share its vector units, so a second thread on them slows a convolution down.
    Where the system does not tell siblings apart (not Linux), every logical processor counts as a core.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text().strip() if siblings.is_file() else cpu)
    return max(1, len(cores))


def use_physical_cores() -> None:
    """Set OMP_NUM_THREADS to the number of physical cores, unless the user has set it.

    Paddle's eager CPU kernels read it once, at the first import of paddle, and use one thread without it.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(physical_cores()))
