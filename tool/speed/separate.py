"""A function in a Python process of its own, for what a process counts from its start, such as its largest memory."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).parents[2]


def run_separately(module: str, request: Any, timeout: Optional[float] = None) -> subprocess.CompletedProcess:
    """Call a module's `main` in a new process, with `request` as JSON in `sys.argv[1]`; returns its status and output.

    Args:
        module: with a function `main` that takes no arguments.
        request: plain values.
        timeout: in seconds; by default none.

    Raises:
        subprocess.TimeoutExpired: after the timeout.
    """
    command = [sys.executable, "-c", f"from {module} import main; main()", json.dumps(request)]
    # Relative paths refer to the current folder, so the project's folder is only added for imports.
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
