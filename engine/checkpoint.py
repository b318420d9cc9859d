"""Checkpoints: `iter_N/model.pdparams` and `model.pdopt` as PaddleSeg writes them, and `state.json`.

A checkpoint is a folder. It is written under a temporary name and renamed when it is complete, so that a folder of
the right name is always whole.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Union

from compat import UserError

import paddle
from paddle import nn

from models.weights import load_weights

MODEL, OPTIMIZER, STATE = "model.pdparams", "model.pdopt", "state.json"


def prepare_save_dir(save_dir: Union[str, Path]) -> Path:
    """Create the folder if need be; raises UserError when nothing can be written there."""
    folder = Path(save_dir)
    probe = folder / ".write_test"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write there ({error.strerror or error}); choose another --save_dir"
        ) from error
    return folder


def save_checkpoint(
    folder: Path,
    model: nn.Layer,
    optimizer: Optional[paddle.optimizer.Optimizer] = None,
    state: Optional[Mapping[str, Any]] = None,
) -> None:
    """Write a checkpoint folder in one step; an existing one of that name is replaced.

    Raises:
        UserError: when the disk takes no more; what was there before is kept.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        paddle.save(model.state_dict(), str(temporary / MODEL))
        if optimizer is not None:
            paddle.save(optimizer.state_dict(), str(temporary / OPTIMIZER))
        if state is not None:
            (temporary / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        for file in temporary.iterdir():
            with open(file, "rb") as written:
                os.fsync(written.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"{folder}: the checkpoint cannot be written ({error.strerror or error})") from error


def list_checkpoints(save_dir: Path) -> List[Path]:
    """The folders `iter_N`, oldest first."""
    found = [path for path in save_dir.glob("iter_*") if path.name[5:].isdigit() and (path / MODEL).is_file()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def remove_old_checkpoints(save_dir: Path, keep: int) -> None:
    """Keep the newest `keep` checkpoints; 0 keeps all."""
    for folder in list_checkpoints(save_dir)[:-keep] if keep > 0 else ():
        shutil.rmtree(folder)


def load_checkpoint(folder: Path, model: nn.Layer, optimizer: paddle.optimizer.Optimizer) -> Dict[str, Any]:
    """Load what `save_checkpoint` wrote and return its state.

    Raises:
        UserError: for a folder that lacks a file, or weights that do not fit.
    """
    for name in (MODEL, OPTIMIZER, STATE):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: lacks {name}, so the run cannot be resumed; --load_from takes weights alone")
    load_weights(model, folder / MODEL)
    optimizer.set_state_dict(paddle.load(str(folder / OPTIMIZER)))
    return json.loads((folder / STATE).read_text(encoding="utf-8"))
