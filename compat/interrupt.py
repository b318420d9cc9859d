"""Ctrl-C while a command still imports what it needs, which takes seconds."""

import multiprocessing
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("train.py", "tool", "benchmarks")


def end_quietly_while_importing() -> None:
    """Let ctrl-C end a command of ours at once, instead of by a traceback out of whatever is being imported.

    A program that imports us as a library keeps its own handling; so do a loader's processes, and what ignores ctrl-C.
    """
    program = Path(sys.argv[0]).resolve()
    is_ours = ROOT in program.parents and program.relative_to(ROOT).parts[0] in COMMANDS
    is_ours = is_ours and multiprocessing.parent_process() is None
    if is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt_as_usual() -> None:
    """From here on ctrl-C is a KeyboardInterrupt again, which saves what there is to save."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
