"""Reads the tensors of torch checkpoints without torch, and without running anything that a file contains.

Both of torch's formats are known: the zip archive (since 1.6) and the sequence of pickles before it. Storages are not
copied: tensors are read-only views of the mapped file.
"""

import io
import math
import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, NamedTuple, Optional, Tuple, Union

from compat import UserError

import numpy as np

from engine.conversion.torch_pickle import BFLOAT16, MalformedError, TensorRecord, unpickle

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_SHARING = 4  # a network that holds its backbone twice, as the original STDC does, shares each storage once
MAX_PICKLE_BYTES = 1 << 26  # the names and shapes of a network take some hundred kilobytes
NESTING = ("state_dict", "model_state_dict", "model", "network", "net", "params")


class TorchWeights(NamedTuple):
    """`tensors`: {name: array}; `ignored`: names of what the file holds besides (optimiser, epoch, ...)."""

    tensors: Dict[str, np.ndarray]
    ignored: Tuple[str, ...]


def read_torch_file(path: Union[str, Path]) -> TorchWeights:
    """Read the weights of a torch checkpoint, of either format.

    A training checkpoint that holds the weights under `state_dict`, `model` or the like is looked through.

    Args:
        path: the file.

    Returns:
        Tensors as read-only arrays, in the file's types; bfloat16, which numpy lacks, becomes float32.

    Raises:
        UserError: for anything that is not a whole, well-formed torch checkpoint of nothing but data.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'the file is empty'})"
        ) from error
    try:
        content, views = (_read_zip if data[:4] == b"PK\x03\x04" else _read_legacy)(data)
        records, ignored = _state_dict(content)
        _check_total(records, len(data))
        return TorchWeights({name: views.array(record) for name, record in records.items()}, ignored)
    except MalformedError as error:
        raise UserError(f"{path}: not a readable torch checkpoint: {error}") from error


class _Views:
    """Arrays of the mapped file: `blocks` gives (position, bytes) of each storage."""

    def __init__(self, data: mmap.mmap, blocks: Mapping[str, Tuple[int, int]], byte_order: str):
        self.data, self.blocks, self.byte_order = data, blocks, byte_order

    def array(self, tensor: TensorRecord) -> np.ndarray:
        storage = tensor.storage
        if storage.key not in self.blocks:
            raise MalformedError(f"it lacks the numbers of storage {storage.key!r}")
        position, size = self.blocks[storage.key]
        dtype = np.dtype("u2" if storage.dtype == BFLOAT16 else storage.dtype)
        if (storage.start + storage.numel) * dtype.itemsize > size:
            raise MalformedError(f"storage {storage.key!r} is shorter than its tensors say")
        array = np.ndarray(
            tensor.shape,
            dtype.newbyteorder(self.byte_order),
            self.data,
            position + (storage.start + tensor.offset) * dtype.itemsize,
            [stride * dtype.itemsize for stride in tensor.strides],
        )
        if storage.dtype == BFLOAT16:  # the upper half of a float32
            array = (array.astype("u4") << np.uint32(16)).view("f4")
        return array


def _read_zip(data: mmap.mmap) -> Tuple[Any, _Views]:
    try:
        archive = zipfile.ZipFile(data)
    except (zipfile.BadZipFile, struct.error, ValueError, OverflowError, RuntimeError, OSError) as error:
        raise MalformedError(f"its zip directory is damaged ({error})") from None
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise MalformedError(f"a zip archive with {len(pickles)} data.pkl, where torch writes one")
    root = pickles[0][: -len("data.pkl")]
    prefix = f"{root}data/"
    blocks = {name[len(prefix) :]: _block(data, e) for name, e in entries.items() if name.startswith(prefix)}
    position, size = _block(data, entries[pickles[0]])
    if size > MAX_PICKLE_BYTES:
        raise MalformedError(f"its data.pkl has {size} bytes, which no network needs")
    order = "<"
    if f"{root}byteorder" in entries:
        start, length = _block(data, entries[f"{root}byteorder"])
        order = {b"little": "<", b"big": ">"}.get(bytes(data[start : start + min(length, 8)]))
        if order is None:
            raise MalformedError("its byte order is neither little nor big")
    content, _ = unpickle(io.BytesIO(data[position : position + size]))
    return content, _Views(data, blocks, order)


def _block(data: mmap.mmap, entry: zipfile.ZipInfo) -> Tuple[int, int]:
    """(position, bytes) of an entry, which torch never compresses."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 0x1 or entry.file_size != entry.compress_size:
        raise MalformedError(f"{entry.filename} is compressed or encrypted, which torch never writes")
    header = data[entry.header_offset : entry.header_offset + 30] if entry.header_offset >= 0 else b""
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise MalformedError(f"{entry.filename} is not where its zip directory says")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    position = entry.header_offset + 30 + name_length + extra_length
    if position + entry.file_size > len(data):
        raise MalformedError(f"it is truncated in {entry.filename}")
    return position, entry.file_size


def _read_legacy(data: mmap.mmap) -> Tuple[Any, _Views]:
    """Pickles of magic number, version, machine, content and storage keys; then each storage: its length, its bytes."""
    if not _equals(unpickle(data)[0], LEGACY_MAGIC):
        raise MalformedError("it starts with neither of torch's magic numbers")
    if not _equals(unpickle(data)[0], LEGACY_PROTOCOL):
        raise MalformedError("an unknown version of the format")
    machine, _ = unpickle(data)
    content, types = unpickle(data)
    keys, _ = unpickle(data)
    order = ">" if isinstance(machine, dict) and machine.get("little_endian") is False else "<"
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in types for key in keys):
        raise MalformedError("its list of storages does not fit its tensors")
    blocks: Dict[str, Tuple[int, int]] = {}
    for key in keys:
        header = data.read(8)
        size = struct.unpack(f"{order}q", header)[0] * _itemsize(types[key]) if len(header) == 8 else -1
        if not 0 <= size <= len(data) - data.tell():
            raise MalformedError(f"it is truncated in storage {key!r}")
        blocks[key] = (data.tell(), size)
        data.seek(size, io.SEEK_CUR)
    return content, _Views(data, blocks, order)


def _equals(value: Any, number: int) -> bool:
    return isinstance(value, int) and value == number


def _itemsize(dtype: str) -> int:
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def _check_total(records: Mapping[str, TensorRecord], file_bytes: int) -> None:
    """Refuse tensors that share storages so often that a small file would fill the memory once they are copied."""
    total = sum(math.prod(record.shape) * _itemsize(record.storage.dtype) for record in records.values())
    if total > MAX_SHARING * file_bytes:
        raise MalformedError(
            f"its {len(records)} tensors share the same numbers: {total} bytes of tensors in a file of {file_bytes}"
        )


def _state_dict(content: Any) -> Tuple[Dict[str, TensorRecord], Tuple[str, ...]]:
    """({name: tensor}, names of what the file holds besides) of a state dict or of a checkpoint around one."""
    if not isinstance(content, dict):
        raise MalformedError("it holds no dictionary of weights")
    found = _find_tensors(content)
    if found is None:
        raise MalformedError(f"it holds no tensors, neither at the top nor under {', '.join(NESTING)}")
    if not all(isinstance(name, str) for name in found[0]):
        raise MalformedError("its tensors are not named by text")
    return found


def _find_tensors(content: Dict, depth: int = 3) -> Optional[Tuple[Dict[str, TensorRecord], Tuple[str, ...]]]:
    """As _state_dict; None where there are none. A state dict inside comes before tensors beside it, such as the state
    of a random generator."""
    for name in NESTING:
        if depth and isinstance(content.get(name), dict):
            inner = _find_tensors(content[name], depth - 1)
            if inner:
                return inner[0], (*_texts(other for other in content if other != name), *inner[1])
    tensors = {name: value for name, value in content.items() if isinstance(value, TensorRecord)}
    return (tensors, _texts(name for name in content if name not in tensors)) if tensors else None


def _texts(names: Iterable[Any]) -> Tuple[str, ...]:
    return tuple(name for name in names if isinstance(name, str))
