"""Turns errors of the system during a run into one line for the user."""

import contextlib
import errno
import re
from typing import Callable, Iterator, Optional

from compat import UserError

FULL_OR_CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
LOST_DEVICE = ("gloo", "connection closed by peer", "connection reset by peer", "nccl", "tcp")
# Paddle's words on a GPU and on the CPU, and those of CUDA and of its libraries
OUT_OF_MEMORY = ("ResourceExhausted", "out of memory", "Out of memory", "STATUS_ALLOC_FAILED")
ALLOCATION = re.compile(r"(?:Cannot allocate|Unable to allocate|Fail to alloc memory of) [\d.]+ ?\w+[^.,;]*")
OTHER_OPTIMIZER = (
    "the checkpoint's optimiser has another type or trained other parameters than the recipe's: resume with the "
    "optimizer of that run, or start anew from its weights with --load_from and another --save_dir"
)
RESUME = "go on from the last checkpoint with --resume_model auto"


@contextlib.contextmanager
def named_faults(devices: int = 1, memory_advice: Callable[[], str] = lambda: "use less of it") -> Iterator[None]:
    """Replace Paddle's and the system's errors by a UserError that says what happened to the run.

    Known are a full disk, too little memory, the death of a loader process or of another device's process, and a
    checkpoint of another optimiser, which Paddle notices only at the first step.

    Args:
        devices: number of devices of the run.
        memory_advice: returns which settings need less memory; called only when memory ran out.

    Raises:
        UserError: in place of these errors; others pass.
    """
    try:
        yield
    except (SystemError, RuntimeError, OSError, ValueError, MemoryError, AssertionError) as error:
        fault = _fault(error, devices, memory_advice)
        if fault is None:
            raise
        raise UserError(fault if isinstance(error, AssertionError) else f"{fault}; {RESUME}") from error


def _fault(error: BaseException, devices: int, memory_advice: Callable[[], str]) -> Optional[str]:
    """What happened and what to do, or None for an unknown error."""
    whole = " ".join(str(error).split())
    text = whole[-200:]
    if isinstance(error, AssertionError):
        return OTHER_OPTIMIZER if "should in state dict" in whole else None
    if isinstance(error, OSError) and error.errno in FULL_OR_CLOSED:
        return f"nothing more can be written ({text}); make room"
    if isinstance(error, MemoryError) or any(words in whole for words in OUT_OF_MEMORY):
        found = ALLOCATION.search(whole)
        return f"out of memory ({found[0] if found else text or 'no allocation is named'}); {memory_advice()}"
    # The former is Paddle's error when a loader process ends, the latter that of the next batch requested.
    if "DataLoader" in whole or "Blocking queue is killed" in whole:
        return f"a loader process is gone ({text}), often for lack of memory; use fewer --num_workers"
    if devices > 1 and any(word in text.lower() for word in LOST_DEVICE):
        return f"the process of another device is gone ({text}); its log says why"
    return None
