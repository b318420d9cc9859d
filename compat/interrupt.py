"""Ctrl-C while a command is still importing its packages, which takes seconds."""

import multiprocessing
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("train.py", "tool", "benchmarks")


def exit_quietly_on_interrupt() -> None:
    """Let ctrl-C end one of this project's commands at once, without a traceback from whatever is being imported.

    Nothing changes in a program that imports this project as a library, in a loader's worker process, and where ctrl-C
    is ignored or handled already.
    """
    program = Path(sys.argv[0]).resolve()
    is_ours = ROOT in program.parents and program.relative_to(ROOT).parts[0] in COMMANDS
    is_ours = is_ours and multiprocessing.parent_process() is None
    if is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def restore_keyboard_interrupt() -> None:
    """Make ctrl-C raise KeyboardInterrupt again, so that a command can save its work."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
