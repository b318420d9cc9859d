"""Train once to the end; then again and again, killed by SIGKILL at moments drawn with a seed, and resumed.

    OMP_NUM_THREADS=1 python -m tests.helpers.kill_training SAMPLE_ROOT FOLDER NUM_WORKERS KILLS

Moments are counted in calls and returns of Python functions, system calls among them, in the training thread: so every
run of this is killed at the same ones, and none is too short to be hit. Every other moment is within the saving of a
checkpoint. Prints a line for each kill, and fails where anything that the run left differs.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Dict, Optional

import numpy as np
from visualdl import LogReader

from tests.helpers.tiny_training import run_in_fork, tiny_recipe, train

SAVING = "save_checkpoint"


class Moments:
    """A profile function that counts events and kills the process at one of them."""

    def __init__(self, kill_at: Optional[int] = None, saving_only: bool = False):
        self.kill_at = kill_at
        self.saving_only = saving_only
        self.counts = {False: 0, True: 0}  # by: within the saving of a checkpoint
        self.saving = 0

    def __call__(self, frame, event, _argument):
        if frame.f_code.co_name == SAVING and event in ("call", "return"):
            self.saving += 1 if event == "call" else -1
        for within in {False, self.saving > 0}:
            self.counts[within] += 1
        if self.counts[self.saving_only] == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def run(sample_root: Path, folder: Path, num_workers: int, moments: Optional[Moments] = None, resume=None) -> None:
    """Train until the end or a kill."""
    recipe = tiny_recipe(sample_root)
    sys.setprofile(moments)
    train(recipe, save_dir=str(folder), num_workers=num_workers, resume_model=resume, use_vdl=True)
    sys.setprofile(None)
    if moments:
        (folder / "moments").write_text(f"{moments.counts[False]} {moments.counts[True]}")


def left(folder: Path) -> Dict[str, object]:
    """What a run left that must not depend on interruptions."""
    found: Dict[str, object] = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*/model.*")) + sorted(folder.glob("*/training.*"))
    }
    log = [line for line in (folder / "train.log").read_text().splitlines() if "[TRAIN]" in line or "[EVAL]" in line]
    found["log"] = [re.sub(r"^\S+ \S+|, batch_cost.*| in [\d.]+ s$", "", line) for line in log]
    records = list((folder / "vdl").iterdir())
    found["vdl files"] = len(records)
    with contextlib.redirect_stdout(io.StringIO()):
        reader = LogReader(file_path=str(records[0]))
    for name in reader.get_tags()["scalar"]:
        points = reader.get_data("scalar", name)
        found[name] = [(p.id, None if "cost" in name else p.value) for p in points]
    found["hidden"] = [path.name for path in folder.glob(".*")]
    return found


def main(sample_root: Path, folder: Path, num_workers: int, kills: int) -> None:
    whole = folder / "whole"
    assert run_in_fork(lambda: run(sample_root, whole, num_workers, Moments())) == 0
    expected = left(whole)
    events, saving_events = map(int, (whole / "moments").read_text().split())
    generator = np.random.default_rng(num_workers)
    for number in range(kills):
        saving = number % 2 == 1
        at = int(generator.integers(1, saving_events if saving else events))
        killed = folder / "killed"
        moments = Moments(at, saving)
        status = run_in_fork(lambda moments=moments, killed=killed: run(sample_root, killed, num_workers, moments))
        assert status == -signal.SIGKILL, f"the run was over before event {at} (status {status})"
        names = sorted(path.name for path in killed.glob("*iter_*"))
        assert run_in_fork(lambda killed=killed: run(sample_root, killed, num_workers, resume="auto")) == 0, names
        found = left(killed)
        differing = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
        assert not differing, (number, at, names, [(expected.get(n), found.get(n)) for n in differing])
        print(f"killed at {'saving ' if saving else ''}event {at} with {' '.join(names) or 'nothing'}: identical")
        shutil.rmtree(killed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
