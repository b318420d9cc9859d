"""A training run that is killed and resumed, compared with an uninterrupted one."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List

from compat import UserError

import numpy as np
import paddle

from data.renderer.sample import render_sample
from engine.resilience.checkpoint import list_checkpoints
from tool.gpu.findings import Finding

RECIPE = "configs/stdc1_seg_sample.yml"
ITERATIONS = 6
TIMEOUT = 300  # seconds
# On a GPU the order of sums varies, and training amplifies the differences; on the CPU the weights are identical.
GPU_BOUND = 0.1


def survival(device: str) -> List[Finding]:
    """Kill `train.py` after its first checkpoint, resume it, and compare with an uninterrupted run."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        render_sample(str(folder / "sample"), train=4, val=2, size=(128, 64), seed=0)
        killed = start(folder, "killed", device, kills=True)
        resumed = start(folder, "killed", device)
        start(folder, "whole", device)
        weights = [
            paddle.load(str(folder / run / f"iter_{ITERATIONS}" / "model.pdparams")) for run in ("killed", "whole")
        ]
    difference = relative_difference(*weights)
    bound = 0.0 if device == "cpu" else GPU_BOUND
    return [
        Finding("killed with", f"{killed} of {ITERATIONS} iterations saved", 0 < killed < ITERATIONS),
        Finding("resumed to", f"iteration {resumed}", resumed == ITERATIONS),
        Finding("final weights, against an uninterrupted run", f"{difference:.1e} of {bound:g}", difference <= bound),
    ]


def start(folder: Path, run: str, device: str, kills: bool = False) -> int:
    """Run `train.py` on the sample in `folder`, and return the last iteration that was saved.

    Args:
        folder: of the sample and the runs.
        run: name of the run's folder.
        device: as for --device.
        kills: whether to kill the process after its first checkpoint.

    Raises:
        UserError: if it fails, or takes longer than TIMEOUT seconds.
    """
    command = [sys.executable, "train.py", "--config", RECIPE, "--dataset_root", folder / "sample"]
    command += ["--save_dir", folder / run, "--iters", ITERATIONS, "--save_interval", 2, "--batch_size", 2]
    command += ["--resume_model", "auto", "--deterministic", "--device", device, "--num_workers", 0, "--no_validate"]
    command += ["--opts", "train_dataset.transforms.RandomPaddingCrop.crop_size=[64,64]"]
    log = folder / f"{run}.log"
    with log.open("w") as output:
        process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + TIMEOUT
            while process.poll() is None and not (kills and list_checkpoints(folder / run)):
                if time.monotonic() > deadline:
                    raise UserError(f"train.py takes longer than {TIMEOUT} s")
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
    saved = list_checkpoints(folder / run)
    if not saved or (process.returncode != 0 and not kills):
        raise UserError(f"train.py has failed: {log.read_text().strip()[-400:]}")
    return int(saved[-1].name.partition("_")[2])


def relative_difference(first: Dict[str, paddle.Tensor], second: Dict[str, paddle.Tensor]) -> float:
    """Norm of the difference of all weights over the norm of the second's."""
    pairs = [(first[name].numpy().astype("float64"), second[name].numpy().astype("float64")) for name in second]
    difference = sum(float(((one - other) ** 2).sum()) for one, other in pairs)
    return float(np.sqrt(difference / sum(float((other**2).sum()) for _, other in pairs)))
