"""Checkpoints: folders of `model.pdparams` and `model.pdopt` as PaddleSeg writes them, and what an exact resume needs.

A checkpoint is written under a hidden name, flushed to the disk with its checksums, and renamed when it is complete.
An existing one of the same name is renamed before it is deleted, so that an intact one exists at every moment:
`finish_replacements` completes what a killed run left half done.
"""

import hashlib
import io
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Union

from compat import UserError, logger
from compat.files import sha256_of

import paddle
from paddle import nn

MODEL, OPTIMIZER, STATE = "model.pdparams", "model.pdopt", "state.json"
EXTRA = "training.pdstate"  # tensors beside the network's and the optimiser's
WRITE_NUMBER = "write_number"  # key of the state: counts the checkpoints that were ever written to the folder
CHECKSUMS = "SHA256SUMS"  # as sha256sum writes it: sha256sum --check SHA256SUMS


class Checkpoint(NamedTuple):
    """What a run resumes from, in memory.

    Attributes:
        folder: that it was read from.
        weights: {name: tensor}, the network's state dict.
        optimizer: the optimiser's state dict.
        state: the content of `state.json`, see engine.training.state.
        extra: the content of `training.pdstate`, nested mappings of tensors.
    """

    folder: Path
    weights: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    state: Mapping[str, Any]
    extra: Mapping[str, Any]


class DamagedError(Exception):
    """A file of a checkpoint is missing or has changed; the message names it."""


def prepare_save_dir(save_dir: Union[str, Path], flag: str = "--save_dir") -> Path:
    """Create the folder that `flag` names if needed; raises UserError when it cannot be written to."""
    folder = Path(save_dir)
    probe = folder / f".write_test_{os.getpid()}"  # the processes of several devices do this at once
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot write there ({error.strerror or error}); choose another {flag}") from error
    return folder


def check_replaceable(save_dir: Path, written: Sequence[str], sources: Iterable[Union[str, Path]]) -> None:
    """Raise UserError if replacing a folder would delete files of others, or weights that the command reads.

    Args:
        save_dir: to be replaced by save_checkpoint.
        written: names of the files that the command writes there.
        sources: files or folders that it reads.
    """
    others = sorted(path.name for path in save_dir.iterdir() if path.name not in written) if save_dir.is_dir() else []
    if others:
        raise UserError(f"--save_dir {save_dir}: is replaced as a whole, but holds {others[0]}; name a new folder")
    for source in map(Path, sources):
        if save_dir.resolve() in (source.resolve(), source.resolve().parent):
            raise UserError(f"--save_dir {save_dir}: holds {source}, which is read; name a new folder")


def save_checkpoint(
    folder: Path,
    model: nn.Layer,
    optimizer: Optional[paddle.optimizer.Optimizer] = None,
    state: Optional[Mapping[str, Any]] = None,
    extra: Optional[Mapping[str, Any]] = None,
) -> None:
    """Write a checkpoint folder in one step; an existing one of that name is replaced.

    Args:
        folder: path of the checkpoint.
        model: its weights become `model.pdparams`.
        optimizer: its state becomes `model.pdopt`.
        state: becomes `state.json`, with the position of this checkpoint in the order of writing.
        extra: nested mappings of tensors; become `training.pdstate`.

    Raises:
        UserError: when it cannot be written, such as on a full disk; what was there before is kept.
    """
    if state is not None:
        before = [_write_number(path, unreadable=0) for path in list_checkpoints(folder.parent)]
        state = {**state, WRITE_NUMBER: 1 + max(before, default=0)}
    folder = Path(os.path.realpath(folder))  # a link stays, and the folder that it leads to is replaced
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file where a checkpoint's folder is to be written; move it away")
    temporary = _hidden(folder, "tmp")
    try:
        _delete(temporary)
        temporary.mkdir(parents=True)
        paddle.save(model.state_dict(), str(temporary / MODEL))
        if optimizer is not None:
            paddle.save(optimizer.state_dict(), str(temporary / OPTIMIZER))
        if extra is not None:
            paddle.save(dict(extra), str(temporary / EXTRA))
        if state is not None:
            (temporary / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        sums = "".join(f"{sha256_of(file)}  {file.name}\n" for file in sorted(temporary.iterdir()))
        (temporary / CHECKSUMS).write_text(sums, encoding="utf-8")
        for path in (*temporary.iterdir(), temporary):
            flush_to_disk(path)
        _put_in_place(temporary, folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"{folder}: the checkpoint cannot be written ({error.strerror or error}); those before it are kept. "
            "Make room, then start the command again; a training run goes on with --resume_model auto"
        ) from error


def set_aside(path: Path) -> Path:
    """Rename a file or folder to its name with the first free number, such as `best_model.1`; returns the new path."""
    path = Path(os.path.realpath(path))  # a link stays
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.{number}")):
        number += 1
    os.replace(path, aside)
    return aside


def weights_checksum(folder: Path) -> Optional[str]:
    """SHA-256 of a checkpoint's weights, in hexadecimal, as it was written; None if there is none."""
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((line.split()[0] for line in lines if line.endswith(f"  {MODEL}")), None)


def damage(folder: Path) -> Optional[str]:
    """What is wrong with a checkpoint's files, or None if all are as they were written."""
    try:
        _read_verified(folder)
    except DamagedError as problem:
        return str(problem)
    return None


def list_checkpoints(save_dir: Path) -> List[Path]:
    """The folders `iter_N`, by N."""
    found = [path for path in save_dir.glob("iter_*") if path.name[5:].isdecimal() and path.is_dir()]
    return sorted(found, key=checkpoint_iteration)


def checkpoint_iteration(folder: Path) -> int:
    """N of a folder `iter_N`."""
    return int(folder.name[5:])


def in_order_of_writing(save_dir: Path, unreadable: float = math.inf) -> List[Path]:
    """The folders `iter_N`, the one that was written last at the end.

    N does not tell: a run may have begun anew, or gone on from an earlier checkpoint, where another had come further.
    The files' times do not either, once the folder was copied. Those of version 1.0.0, which have no number, come first
    and by N; `unreadable` is the number of those whose state cannot be read.
    """
    return sorted(list_checkpoints(save_dir), key=lambda folder: _write_number(folder, unreadable))


def newest_intact(save_dir: Path) -> Optional[Checkpoint]:
    """Read the intact checkpoint that was written last, and log damaged ones; None if there is no checkpoint at all.

    Raises:
        UserError: when all checkpoints are damaged.
    """
    found = in_order_of_writing(save_dir)
    for folder in reversed(found):
        try:
            return _parse(folder, _read_verified(folder))
        except DamagedError as problem:
            logger.warning("%s is damaged (%s): trying the one before it", folder, problem)
    if found:
        raise UserError(
            f"{save_dir}: all {len(found)} checkpoints are damaged; to start anew choose another --save_dir"
        )
    return None


def remove_old_checkpoints(save_dir: Path, keep: int, newest: Optional[int] = None) -> None:
    """Of the checkpoints up to iteration `newest`, by default all, keep the `keep` written last; 0 keeps all."""
    found = in_order_of_writing(save_dir, unreadable=-1)
    found = [path for path in found if newest is None or checkpoint_iteration(path) <= newest]
    for folder in found[:-keep] if keep > 0 else ():
        hidden = _hidden(folder, "tmp")  # a half-deleted folder must not look like a checkpoint
        _delete(hidden)
        os.replace(folder, hidden)
        _delete(hidden)


def finish_replacements(save_dir: Path) -> None:
    """Clean up after a killed run: restore a checkpoint whose replacement is not in place, delete unfinished ones."""
    for replaced in filter(_holds_a_checkpoint, save_dir.glob(".*.old")):
        folder = save_dir / replaced.name[1 : -len(".old")]
        if folder.exists():
            _delete(replaced)
        else:
            os.replace(replaced, folder)
    for temporary in filter(_holds_a_checkpoint, save_dir.glob(".*.tmp")):
        _delete(temporary)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote, each file once.

    Raises:
        UserError: for a folder that is missing, lacks a file or is damaged.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such checkpoint; --resume_model takes a folder such as {folder.parent}/iter_1000"
        )
    for name in (MODEL, OPTIMIZER, EXTRA, STATE):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: lacks {name}, so the run cannot be resumed; --load_from takes weights alone")
    try:
        return _parse(folder, _read_verified(folder))
    except DamagedError as problem:
        raise UserError(
            f"{folder}: is damaged ({problem}); --resume_model auto takes the newest intact checkpoint"
        ) from problem


def flush_to_disk(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk, so that it survives a power cut."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _read_verified(folder: Path) -> Dict[str, bytes]:
    """{name: content} of every file that the checksums list; raises DamagedError where one differs."""
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}
        contents = {name: (folder / name).read_bytes() for name in sums}
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedError(f"{getattr(error, 'filename', None) or folder / CHECKSUMS} cannot be read") from error
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != sums[name]:
            raise DamagedError(f"{name} is not as it was written")
    if not contents:
        raise DamagedError(f"{CHECKSUMS} is empty")
    return contents


def _parse(folder: Path, contents: Mapping[str, bytes]) -> Checkpoint:
    """The checkpoint that verified files hold."""
    missing = next((name for name in (MODEL, OPTIMIZER, EXTRA, STATE) if name not in contents), None)
    if missing:
        raise DamagedError(f"{CHECKSUMS} does not list {missing}")
    weights, optimizer, extra = (paddle.load(io.BytesIO(contents[name])) for name in (MODEL, OPTIMIZER, EXTRA))
    weights.pop("StructuredToParameterName@@", None)  # Paddle's own bookkeeping
    return Checkpoint(folder, weights, optimizer, json.loads(contents[STATE].decode("utf-8")), extra)


def _write_number(folder: Path, unreadable: float) -> float:
    """The position of a checkpoint in the order of writing; 0 if its state has none, as in version 1.0.0."""
    try:
        return int(json.loads((folder / STATE).read_bytes()).get(WRITE_NUMBER, 0))
    except (OSError, ValueError, TypeError, AttributeError):  # no file, no JSON, no mapping, or no number
        return unreadable


def _put_in_place(temporary: Path, folder: Path) -> None:
    if folder.exists():
        replaced = _hidden(folder, "old")
        _delete(replaced)
        os.replace(folder, replaced)
    os.replace(temporary, folder)
    flush_to_disk(folder.parent)
    shutil.rmtree(_hidden(folder, "old"), ignore_errors=True)


def _hidden(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}.{suffix}")


def _holds_a_checkpoint(folder: Path) -> bool:
    """Whether it is a folder that holds only files of a checkpoint; some of them may be missing."""
    known = {MODEL, OPTIMIZER, STATE, EXTRA, CHECKSUMS}
    return folder.is_dir() and known.issuperset(path.name for path in folder.iterdir())


def _delete(folder: Path) -> None:
    if folder.is_symlink():  # whose target belongs to others
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
