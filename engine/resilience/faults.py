"""What the system does to a run, as one line for the user."""

import contextlib
import errno
from typing import Iterator

from compat import UserError

FULL_OR_CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
LOST_DEVICE = ("gloo", "connection closed by peer", "connection reset by peer", "nccl", "tcp")
RESUME = "go on from the last checkpoint with --resume_model auto"


@contextlib.contextmanager
def named_faults() -> Iterator[None]:
    """A disk that takes no more, and Paddle's errors about a loader's or another device's process that is gone.

    Raises:
        UserError: instead of them.
    """
    try:
        yield
    except (SystemError, RuntimeError, OSError, ValueError) as error:
        whole = " ".join(str(error).split())
        text = whole[-200:]
        if isinstance(error, OSError) and error.errno in FULL_OR_CLOSED:
            raise UserError(f"nothing more can be written ({text}); make room, then {RESUME}") from error
        # Paddle says the one when it hears that a child has ended, and the other when it next asks for a batch.
        if "DataLoader" in whole or "Blocking queue is killed" in whole:
            raise UserError(
                f"a loader process is gone ({text}), often for lack of memory; {RESUME}, and fewer --num_workers"
            ) from error
        if any(word in text.lower() for word in LOST_DEVICE):
            raise UserError(f"the process of another device is gone ({text}); its log says why; {RESUME}") from error
        raise
