"""The process that runs PaddleSeg's network, as benchmarks.inference starts and calls it."""

import os
import subprocess
import sys
import threading
from typing import Callable, Tuple

from compat import UserError
from compat.allocator import MALLOC_SETTINGS
from compat.processor import physical_cores

OUR_VARIABLES = ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", *MALLOC_SETTINGS)
"""Environment variables that compat sets before paddle is imported."""

TIMEOUT = 600  # seconds for one reply


class PeerProcess:
    """PaddleSeg's STDCSeg at one size; `run("eager")` and `run("exported")` compute one class map.

    Args:
        model: `stdc1_seg` or `stdc2_seg`.
        size: (h, w).
        our_settings: whether it gets the variables that compat sets.

    Raises:
        UserError: if the process ends, with the last line that it printed.
    """

    def __init__(self, model: str, size: Tuple[int, int], our_settings: bool):
        environment = {name: value for name, value in os.environ.items() if our_settings or name not in OUR_VARIABLES}
        height, width = size
        command = [sys.executable, "-m", "benchmarks.peers.paddleseg_inference", model, width, height, physical_cores()]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([str(part) for part in command], env=environment, text=True, **pipes)
        self._reply(lambda line: line == "ready")

    def __enter__(self) -> "PeerProcess":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def run(self, kind: str) -> float:
        """Seconds of one call, inside the process."""
        self.process.stdin.write(f"{kind}\n")
        self.process.stdin.flush()
        return float(self._reply(lambda line: line.replace(".", "").replace("e-", "").isdigit()))

    def _reply(self, is_reply: Callable[[str], bool]) -> str:
        """The next line for which `is_reply` is true; Paddle and PaddleSeg print other lines."""
        watchdog = threading.Timer(TIMEOUT, self.process.kill)
        watchdog.start()
        last = ""
        try:
            for line in self.process.stdout:
                last = line.strip()
                if is_reply(last):
                    return last
        finally:
            watchdog.cancel()
        raise UserError(f"paddleseg: its process ended ({last or 'without a message'}); is paddleseg 2.8.0 installed?")
