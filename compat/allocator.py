"""Settings of the C library that allocates Paddle's CPU tensors."""

import ctypes
import os
import sys
from typing import Dict, Mapping, Tuple

# {environment variable that glibc reads when a program starts: (mallopt's number of that setting, value)}
MALLOC_SETTINGS: Dict[str, Tuple[int, int]] = {
    "MALLOC_MMAP_MAX_": (-4, 0),  # no allocation is so large that freeing it returns it to the system
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),  # free bytes that are kept before some are returned to the system
}


def keep_freed_memory() -> None:
    """Keep freed memory in this process and those it starts, unless the user has chosen otherwise; glibc only.

    Paddle keeps no CPU memory itself: the C library allocates every tensor, and glibc takes large ones from
    the system. The system zeroes each page at its first use, which takes a quarter of a network's time.
    """
    if sys.platform != "linux" or _user_chose(os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for name, (setting, value) in MALLOC_SETTINGS.items():
        mallopt(setting, value)
        os.environ[name] = str(value)


def _user_chose(environment: Mapping[str, str]) -> bool:
    tunables = environment.get("GLIBC_TUNABLES", "")
    return "glibc.malloc" in tunables or any(name.startswith("MALLOC_") for name in environment)
