"""One training run of an ablation: a process of `train.py` that resumes from its last checkpoint."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Iterator, List, Sequence

from compat import UserError
from compat.files import write_json

from benchmarks.study.plan import Run
from engine.resilience.checkpoint import list_checkpoints

try:
    import fcntl
except ImportError:  # Windows, where nothing keeps two ablations out of one folder
    fcntl = None

ROOT = Path(__file__).parents[2]
SETTINGS, OUTPUT, LOCK = "run.json", "output.log", ".lock"
FORWARDED = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def locked(save_dir: Path) -> Iterator[IO[str]]:
    """Lock `save_dir` for one ablation; a training process that outlives its ablation still holds the lock.

    Raises:
        UserError: if another ablation is running there.
    """
    with open(save_dir / LOCK, "w", encoding="utf-8") as lock:
        if fcntl:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    f"{save_dir}: another ablation, or a training that it started, is running here; wait for it, or "
                    "choose another --save_dir"
                ) from error
        yield lock


def check_settings(run: Run, folder: Path) -> None:
    """Record the settings of the run in `folder`, or check that they are those recorded there.

    Raises:
        UserError: if the folder was trained with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, settings = folder / SETTINGS, json.loads(json.dumps(run.settings))
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else settings
    for key, value in settings.items():
        if before.get(key) != value:
            raise UserError(
                f"{folder}: was trained with {key} {before.get(key)}, the plan says {value}; give the variant "
                "another name, or remove the folder"
            )
    write_json(path, settings)


def train(run: Run, folder: Path, flags: Sequence[str], lock: IO[str]) -> int:
    """Train a run to its end, resuming from its newest checkpoint if there is one.

    Args:
        run: what to train.
        folder: its folder; the output of the process goes to `output.log` there.
        flags: further flags of train.py.
        lock: stays held until the process ends.

    Returns:
        The exit status of the process. If this process got SIGINT or SIGTERM, it was forwarded, and a checkpoint saved.
    """
    with open(folder / OUTPUT, "a", encoding="utf-8") as output:
        descriptors = (lock.fileno(),) if fcntl else ()
        process = subprocess.Popen(
            command(run, folder, flags), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, pass_fds=descriptors
        )
        with _forwarding(process):
            return process.wait()


def command(run: Run, folder: Path, flags: Sequence[str]) -> List[str]:
    """The command that trains a run, from the project's folder."""
    config, save_dir = str(Path(run.config).resolve()), str(folder.resolve())
    fixed = ["--config", config, "--save_dir", save_dir, "--seed", str(run.seed), "--resume_model", "auto"]
    return [sys.executable, "train.py", *fixed, "--keep_checkpoint_max", "1", *flags, "--opts", *run.options]


def last_line(folder: Path) -> str:
    """The last line that the process of a run wrote."""
    lines = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it printed nothing")


def remove_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a complete run, which is not resumed any more."""
    for checkpoint in list_checkpoints(folder):
        shutil.rmtree(checkpoint)


@contextlib.contextmanager
def _forwarding(process: subprocess.Popen) -> Iterator[None]:
    """Forward SIGINT and SIGTERM to the process, which then saves a checkpoint and exits."""
    before = {number: signal.signal(number, lambda got, _: process.send_signal(got)) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
