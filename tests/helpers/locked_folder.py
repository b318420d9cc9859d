"""A folder whose lock another process holds."""

import contextlib
import subprocess
import sys

from engine.resilience.folder_lock import LOCK

REFUSED, TAKEN = 7, 0
TRY = """
import fcntl, sys
with open(sys.argv[1], "ab") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(7)
"""
HOLD = f"{TRY}    print(flush=True)\n    sys.stdin.read()"


def lock_in_another_process(folder):
    """REFUSED or TAKEN."""
    return subprocess.run([sys.executable, "-S", "-c", TRY, str(folder / LOCK)], timeout=30).returncode


@contextlib.contextmanager
def locked_by_another_process(folder):
    command = [sys.executable, "-S", "-c", HOLD, str(folder / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        yield
