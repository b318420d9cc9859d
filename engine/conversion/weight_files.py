"""Weight files in and out, none of which can run code: torch's, Paddle's `.pdparams`, and `.safetensors`."""

import contextlib
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, Mapping, Union

from compat import UserError

import numpy as np
import safetensors
import safetensors.numpy

from engine.conversion.file_kind import PADDLE, SAFETENSORS, TORCH, file_kind
from engine.conversion.torch_file import TorchWeights, read_torch_file
from models.weights import read_safetensors

PADDLE_SUFFIX, SAFE_SUFFIX = ".pdparams", ".safetensors"
_ARRAY_NAMES = {
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


def read_weight_file(path: Union[str, Path]) -> TorchWeights:
    """Read a checkpoint; `.pdparams` and `.safetensors` go by their suffix, all others are torch's.

    Raises:
        UserError: for a file that is missing, damaged, of another kind than its suffix says, or holds anything but
            arrays and plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weight file")
    _check_kind(path)
    if path.suffix == SAFE_SUFFIX:
        return TorchWeights(read_safetensors(path), ())
    if path.suffix == PADDLE_SUFFIX:
        return _read_pdparams(path)
    return read_torch_file(path)


def _check_kind(path: Path) -> None:
    """Raise UserError for a file whose content is known to be of another kind than its suffix says."""
    expected = {SAFE_SUFFIX: SAFETENSORS, PADDLE_SUFFIX: PADDLE}.get(path.suffix, TORCH)
    try:
        kind = file_kind(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if kind not in (None, expected):
        remedy = f"rename it to *{kind.suffix}" if kind.suffix else kind.remedy
        raise UserError(f"{path}: is {kind.title}; {remedy}")


def write_weight_file(path: Union[str, Path], tensors: Mapping[str, np.ndarray]) -> None:
    """Write {name: array} as `.pdparams` or `.safetensors`, as the suffix says, in one step.

    Float16 stays so in `.safetensors`; everything else is written in float32.

    Raises:
        UserError: where the file cannot be written; one that was there is kept.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    write = _write_safetensors if path.suffix == SAFE_SUFFIX else _write_pdparams
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(tensors, temporary)
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
    finally:
        with contextlib.suppress(OSError):  # such as of a folder that could not be made; the error above says more
            temporary.unlink()


def _write_safetensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    kept = {name: array if array.dtype == np.float16 else _float32(array) for name, array in tensors.items()}
    safetensors.numpy.save_file(kept, str(path))


def in_half(tensors: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The tensors in float16; raises UserError for one with a number that float16 cannot hold."""
    half = {}
    for name, array in tensors.items():
        with np.errstate(over="ignore"):
            half[name] = np.ascontiguousarray(array, dtype="float16")
        if not np.isfinite(half[name]).all():
            raise UserError(f"{name}: {np.abs(array).max():g} is beyond float16, which ends at 65504")
    return half


class _ArrayPickler(pickle.Pickler):
    """Writes what paddle.load reads; unlike paddle.save it makes each array's copy only when its turn comes."""

    fast = True  # no memo, which would keep every copy until the end

    def reducer_override(self, value: Any) -> Any:
        return _float32(value).__reduce__() if isinstance(value, np.ndarray) else NotImplemented


def _write_pdparams(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    with open(path, "wb") as file:
        _ArrayPickler(file, protocol=4).dump(dict(tensors))


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype="float32")


class _ArrayUnpickler(pickle._Unpickler):
    """Knows numpy's arrays and nothing else; in Python, as C's lets a file choose how much memory to fill."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not part of an array and was not run")
        return super().find_class(module, name)


def _read_pdparams(path: Path) -> TorchWeights:
    try:
        with open(path, "rb") as file:
            state = _ArrayUnpickler(file, encoding="latin1").load()
    # A damaged pickle can fail at any of the unpickler's operations, with whatever that operation raises.
    except Exception as error:
        reason = str(error) if isinstance(error, pickle.UnpicklingError) else type(error).__name__
        raise UserError(f"{path}: not a readable Paddle weight file ({reason})") from error
    state = state if isinstance(state, (dict, OrderedDict)) else {}
    # Paddle writes some tensors as (internal name, array).
    pairs = {name: v[1] if isinstance(v, tuple) and len(v) == 2 else v for name, v in state.items()}
    tensors = {name: v for name, v in pairs.items() if isinstance(name, str) and isinstance(v, np.ndarray)}
    if not tensors:
        raise UserError(f"{path}: holds no Paddle weights")
    return TorchWeights(tensors, ())
