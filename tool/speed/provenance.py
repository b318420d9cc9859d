"""The provenance of figures: machine, versions, commit, date and command, which their file records."""

import datetime
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Optional

import compat  # noqa: F401  it sets OMP_NUM_THREADS

from tool.speed.hardware import describe_hardware

ROOT = Path(__file__).parents[2]


def provenance(threads: Optional[int] = None) -> Dict[str, Any]:
    """Machine, versions, commit, date (UTC) and command of this process.

    Args:
        threads: that the measurement used; by default OpenMP's number, which `compat` sets where it is not given.
    """
    hardware = describe_hardware(threads or int(os.environ["OMP_NUM_THREADS"]))
    return {
        "machine": hardware["processor"],
        "instructions": hardware["instructions"],
        "gpu": hardware["gpu"],
        "threads": hardware["threads"],
        "versions": {"python": hardware["python"], **hardware["packages"]},
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "command": _command(),
    }


def _commit() -> str:
    """The commit that is checked out, followed by `+` if files differ from it; empty outside of git."""
    commit = _git("rev-parse", "--short=10", "HEAD")
    return commit + ("+" if commit and _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _command() -> str:
    """The command line of this process, with paths shortened by `portable_path`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {spec.name.removesuffix('.__main__')}" if spec else f"python {Path(sys.argv[0]).name}"
    return " ".join([program, *(shlex.quote(portable_path(argument)) for argument in sys.argv[1:])])


def portable_path(argument: str) -> str:
    """An argument that may be published: a path relative to the project, or only its last part if it is outside.

    In NAME=FILE that is done to FILE.
    """
    name, equals, text = argument.rpartition("=")
    path = Path(text)
    if path.is_relative_to(ROOT):
        text = str(path.relative_to(ROOT))
    elif path.is_absolute() or ".." in path.parts:
        text = path.name
    return f"{name}{equals}{text}"
