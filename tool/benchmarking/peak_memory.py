"""The memory that a network takes, measured in a separate process that loads it and runs it a few times.

One process for several networks would count them all. The peak is read from /proc, because `ru_maxrss` of a child
starts at the size of its parent.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Optional, Sequence

import compat

import numpy as np

from engine.command import choose_device
from engine.runtime.load import engine_class
from tool.benchmarking.formats import Format, Source, open_format
from tool.benchmarking.measurement import Memory
from tool.speed.resident import STATUS, resident
from tool.speed.separate import run_separately

RUNS = 3
TIMEOUT = 600  # seconds


def peak_memory(
    source: Source, format_: Format, folder: Optional[Path], device: Optional[str] = None
) -> Optional[Memory]:
    """Memory of a process that opens the format and runs it; None without /proc, or if the process fails."""
    if not STATUS.is_file():
        return None
    folder = str(folder.resolve()) if folder else None
    request = {"source": source._asdict(), "format": format_, "folder": folder, "device": device}
    try:
        done = run_separately(__name__, request, TIMEOUT)
        return Memory(**json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, IndexError, ValueError, TypeError):
        compat.logger.warning("%s: its memory could not be measured", " ".join(format_))
        return None


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The program of the separate process: prints a Memory as JSON."""
    request = json.loads((sys.argv[1:] if argv is None else argv)[0])
    choose_device(request["device"])
    source, format_ = Source(**request["source"]), tuple(request["format"])
    if format_[0] not in ("eager", "tensorrt"):
        engine_class(format_[0])
    before = resident()["VmRSS"]
    network = open_format(source, format_, request["folder"] and Path(request["folder"]))
    images = np.zeros((1, *source.size, 3), np.uint8)
    for _ in range(RUNS):
        network.classes(images)
    print(json.dumps({"before": before, "peak": resident()["VmHWM"]}))
