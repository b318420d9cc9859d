"""Commands whose standard streams are closed or cannot be written to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRINTS_AND_RUNS = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("streams", "compat/streams.py")
streams = importlib.util.module_from_spec(spec)
spec.loader.exec_module(streams)
streams.replace_closed_streams()
opened = open("/dev/zero").fileno()
print("warning", file=sys.stderr)
print("output")
sys.exit(3 if opened > 2 else 4)
"""


@pytest.mark.skipif(os.name == "nt", reason="closes descriptors as POSIX shells do")
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams_are_the_null_device_and_files_get_other_numbers(closed):
    """A command with standard error closed did nothing at all, with status 1."""
    redirected = " ".join(f"{number}<&-" for number in closed)
    command = f'exec {sys.executable} -c "$0" {redirected}'
    assert subprocess.run(["sh", "-c", command, PRINTS_AND_RUNS], cwd=ROOT, capture_output=True).returncode == 3
