"""How the C library manages the memory of Paddle's CPU tensors."""

import ctypes
import os
import sys
from typing import Dict, Mapping, Tuple

# Environment variable that glibc reads at a program's start: (mallopt's number of the same setting, value).
KEEPING: Dict[str, Tuple[int, int]] = {
    "MALLOC_MMAP_MAX_": (-4, 0),  # nothing is so large that the system takes it back at once
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),  # bytes that may stay free before the system takes them back
}


def keep_freed_memory() -> None:
    """Keep freed memory in this process and those it starts, unless the user has chosen otherwise; glibc only.

    Paddle keeps no CPU memory itself: every tensor is allocated anew by the C library, and glibc takes large ones from
    the system. The system zeroes each page at its first use, which takes a quarter of a network's time.
    """
    if sys.platform != "linux" or _user_chose(os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for name, (setting, value) in KEEPING.items():
        mallopt(setting, value)
        os.environ[name] = str(value)


def _user_chose(environment: Mapping[str, str]) -> bool:
    tunables = environment.get("GLIBC_TUNABLES", "")
    return "glibc.malloc" in tunables or any(name.startswith("MALLOC_") for name in environment)
