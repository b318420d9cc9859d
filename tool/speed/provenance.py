"""Where figures come from: machine, versions, commit, date and command, to stand in the file that holds them."""

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

from compat.processor import physical_cores

from tool.speed.hardware import describe_hardware

ROOT = Path(__file__).parents[2]


def provenance() -> Dict[str, Any]:
    """Machine, threads, versions, commit, date (UTC) and command of this process."""
    hardware = describe_hardware(physical_cores())
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
    """The commit that is checked out, with `+` behind it where files differ from it; empty outside of git."""
    commit = _git("rev-parse", "--short=10", "HEAD")
    return commit + ("+" if commit and _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _command() -> str:
    """The command line that started this process; of a path outside of the project only the last part."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {spec.name.removesuffix('.__main__')}" if spec else f"python {Path(sys.argv[0]).name}"
    return " ".join([program, *(without_place(argument) for argument in sys.argv[1:])])


def without_place(argument: str) -> str:
    """A path as it may stand in a file that is published: below the project, or its last part alone."""
    path = Path(argument)
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return path.name if path.is_absolute() or ".." in path.parts else argument
