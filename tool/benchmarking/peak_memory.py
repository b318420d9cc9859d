"""How much memory a network takes: of a process of its own, which loads it and runs it a few times.

A process that measures several would count them all, and so would the peak that a child inherits from a large parent in
`ru_maxrss`; /proc counts from the start of the program.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Optional, Sequence

import compat

import numpy as np

from engine.command import choose_device
from engine.runtime.load import engine_class
from tool.benchmarking.formats import Format, Source, open_format
from tool.benchmarking.measurement import Memory

ROOT = Path(__file__).parents[2]
STATUS = Path("/proc/self/status")
RUNS = 3
PATIENCE = 600  # seconds


def peak_memory(source: Source, one: Format, folder: Optional[Path], device: Optional[str] = None) -> Optional[Memory]:
    """Of a process that opens the format and runs it; None where the system does not say, or the process fails."""
    if not STATUS.is_file():
        return None
    folder = str(folder.resolve()) if folder else None
    asked = json.dumps({"source": source._asdict(), "format": one, "folder": folder, "device": device})
    command = [sys.executable, "-c", f"from {__name__} import main; main()", asked]
    # The folder of the caller counts for relative paths, the project's for imports.
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
        return Memory(**json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, IndexError, ValueError, TypeError):
        compat.logger.warning("%s: its memory could not be measured", " ".join(one))
        return None


def main(argv: Optional[Sequence[str]] = None) -> None:
    """What the process does: prints a Memory as JSON."""
    asked = json.loads((sys.argv[1:] if argv is None else argv)[0])
    choose_device(asked["device"])
    source, one = Source(**asked["source"]), tuple(asked["format"])
    if one[0] not in ("eager", "tensorrt"):
        engine_class(one[0])
    before = resident()["VmRSS"]
    network = open_format(source, one, asked["folder"] and Path(asked["folder"]))
    images = np.zeros((1, *source.size, 3), np.uint8)
    for _ in range(RUNS):
        network.classes(images)
    print(json.dumps({"before": before, "peak": resident()["VmHWM"]}))


def resident() -> Dict[str, float]:
    """MiB that this process has in memory now (VmRSS) and had at most (VmHWM)."""
    found = re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return {name: int(kibibytes) / 1024 for name, kibibytes in found}
