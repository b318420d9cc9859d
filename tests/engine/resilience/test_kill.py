"""Training killed at any moment, and resumed: what is left is what the uninterrupted run leaves."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("num_workers", "kills"), [(0, 20), (2, 6)])
def test_a_killed_run_ends_bit_identical(sample_root, tmp_path, num_workers, kills):
    command = [sys.executable, "-m", "tests.helpers.kill_training", sample_root, tmp_path, num_workers, kills]
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("identical") == kills
    # The moments must be spread: before the first checkpoint, while one is being written, and with several there.
    assert "with nothing" in done.stdout and ".tmp" in done.stdout and "iter_3 iter_6" in done.stdout, done.stdout
