"""Standard streams that were closed by whoever started the program, as by `command 2>&-`."""

import os
import sys

STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}


def replace_closed_streams() -> None:
    """Open standard streams that are closed as the null device.

    Python sets them to None, which breaks whatever writes to them. A file that is opened later would get a closed
    stream's number, and the warnings of C++ libraries would be written into it.
    """
    closed = [name for name in STREAMS if getattr(sys, name) is None]
    if not closed:
        return
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:  # the lowest free number is taken each time
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    for name in closed:
        setattr(sys, name, open(os.devnull, STREAMS[name], encoding="utf-8"))  # noqa: SIM115 - until the process ends
