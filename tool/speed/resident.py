"""The resident memory of this process."""

import re
from pathlib import Path
from typing import Dict

from compat import UserError

STATUS = Path("/proc/self/status")


def resident() -> Dict[str, float]:
    """Resident size of this process in MiB: now (VmRSS) and its maximum so far (VmHWM).

    `ru_maxrss` is no substitute for the maximum: in a child it starts at the size of the parent.

    Raises:
        UserError: without /proc, which only Linux has.
    """
    if not STATUS.is_file():
        raise UserError("the memory of a process is read from /proc, which only Linux has")
    found = re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return {name: int(kibibytes) / 1024 for name, kibibytes in found}
