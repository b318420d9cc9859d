"""Figures as files: what a benchmark writes, and what `python -m benchmarks.tables` makes tables of.

A file is one JSON object: the benchmark's own keys, and `measured`, which says where they come from. Files of
benchmarks/results are kept; any file that a benchmark wrote with `--json` may be put there.
"""

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Mapping

from compat import write_json
from compat.processor import physical_cores

from tool.speed.hardware import describe_hardware

ROOT = Path(__file__).parents[2]


def write_figures(path: Path, figures: Mapping[str, Any]) -> None:
    """Write the figures of this process and where they were measured; raises UserError where `path` is not writable."""
    write_json(path, {**figures, "measured": provenance()})


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
    return " ".join([program, *(_without_place(argument) for argument in sys.argv[1:])])


def _without_place(argument: str) -> str:
    path = Path(argument)
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return path.name if path.is_absolute() or ".." in path.parts else argument
