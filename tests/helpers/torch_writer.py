"""Writes files in torch's formats without torch, valid or not, to test the reader and the converter."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, Mapping, Optional

import numpy as np

STORAGES = {"float32": "FloatStorage", "int64": "LongStorage", "float64": "DoubleStorage", "float16": "HalfStorage"}
LEGACY_START = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})


def literal(value: Any) -> bytes:
    """Opcodes that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(
    key: str = "0", numel: Any = 4, offset: Any = 0, shape: Any = (4,), strides: Any = (1,), storage="FloatStorage"
) -> bytes:
    """Opcodes that push a tensor."""
    reference = literal("storage") + f"ctorch\n{storage}\n".encode() + literal(key) + literal("cpu") + literal(numel)
    arguments = b"((" + reference + b"tQ" + literal(offset) + literal(shape) + literal(strides) + b"\x89N"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"tR"


def mapping(values: Mapping[str, bytes]) -> bytes:
    """A whole pickle of {name: what the opcodes push}."""
    return b"\x80\x02}(" + b"".join(literal(name) + pushed for name, pushed in values.items()) + b"u."


def write_zip(path: Path, content: bytes, storages: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A file in the zip format."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def write_legacy(path: Path, content: bytes, storages: Mapping[str, bytes], itemsize: int = 4) -> Path:
    """A file in the format before zip."""
    pickles = [pickle.dumps(value, 2) for value in LEGACY_START] + [content, pickle.dumps(list(storages), 2)]
    blocks = [struct.pack("<q", len(data) // itemsize) + data for data in storages.values()]
    path.write_bytes(b"".join(pickles + blocks))
    return path


def write_checkpoint(path: Path, state: Mapping[str, np.ndarray], shared: Optional[Mapping[str, str]] = None) -> Path:
    """A state dict in the zip format, under `state_dict`; `shared` names the tensor whose storage another uses."""
    shared = shared or {}
    keys = {name: str(number) for number, name in enumerate(state)}
    entries = {}
    for name, array in state.items():
        strides = tuple(step // array.itemsize for step in np.ascontiguousarray(array).strides) if array.ndim else ()
        key, kind = keys[shared.get(name) or name], STORAGES[array.dtype.name]
        entries[name] = tensor(key, array.size, 0, array.shape, strides, kind)
    storages = {keys[name]: array.tobytes() for name, array in state.items() if not shared.get(name)}
    return write_zip(path, mapping({"state_dict": mapping(entries)[2:-1], "epoch": literal(3)}), storages)
