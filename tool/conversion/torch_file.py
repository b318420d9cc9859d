"""Reads the tensors of torch checkpoints without torch, and without running anything that a file contains.

Both of torch's formats are known: the zip archive (since 1.6) and the sequence of pickles before it. The pickle is
interpreted by Python's own unpickler, which here knows a handful of names: ordered dictionaries, the functions that
rebuild a tensor, and words that stand for types. Every other name ends the reading. Storages are not copied: tensors
are read-only views of the mapped file.
"""

import io
import mmap
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Mapping, NamedTuple, Tuple, Union

from compat import UserError

import numpy as np

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_PICKLE_BYTES = 1 << 26  # the names and shapes of a network take some hundred kilobytes
NESTING = ("state_dict", "model_state_dict", "model", "network", "net", "params")
BFLOAT16 = "bfloat16"  # numpy has no such type

STORAGE_TYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

NUMBER_TYPE = re.compile(r"(float|double|half|bfloat|u?int|long|short|bool|complex)\d*")
# Found beside the weights in training checkpoints; stood in for by an object that does nothing.
IGNORED_NAMES = {
    ("_codecs", "encode"),
    ("builtins", "getattr"),
    ("builtins", "set"),
    ("mmengine.logging.history_buffer", "HistoryBuffer"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch.serialization", "_get_layout"),
}


class TorchWeights(NamedTuple):
    """`tensors`: {name: array}; `ignored`: names of what stands beside them (optimiser, epoch, ...)."""

    tensors: Dict[str, np.ndarray]
    ignored: Tuple[str, ...]


class MalformedError(Exception):
    """What is wrong with the file; becomes a UserError that names it."""


class _Type(NamedTuple):
    """A torch storage class, such as FloatStorage."""

    dtype: str


class _Storage(NamedTuple):
    """A named block of numbers, possibly a part of it, of which only the size is known yet."""

    dtype: str
    key: str
    start: int
    numel: int


class _Tensor(NamedTuple):
    """A view of a storage; sizes, strides and offset count elements and were checked against it."""

    storage: _Storage
    offset: int
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]


class _Ignored:
    """Takes any arguments, state or items, and keeps nothing."""

    def __init__(self, *_):
        pass

    def __call__(self, *_):
        return self

    def __setitem__(self, *_):
        pass

    append = extend = add = update = __call__


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
        return TorchWeights({name: views.array(record) for name, record in records.items()}, ignored)
    except MalformedError as error:
        raise UserError(f"{path}: not a readable torch checkpoint: {error}") from error


class _Views:
    """Arrays of the mapped file: `blocks` gives (position, bytes) of each storage."""

    def __init__(self, data: mmap.mmap, blocks: Mapping[str, Tuple[int, int]], byte_order: str):
        self.data, self.blocks, self.byte_order = data, blocks, byte_order

    def array(self, tensor: _Tensor) -> np.ndarray:
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
    content, _ = _unpickle(io.BytesIO(data[position : position + size]))
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
    if not _equals(_unpickle(data)[0], LEGACY_MAGIC):
        raise MalformedError("it starts with neither of torch's magic numbers")
    if not _equals(_unpickle(data)[0], LEGACY_PROTOCOL):
        raise MalformedError("an unknown version of the format")
    machine, _ = _unpickle(data)
    content, types = _unpickle(data)
    keys, _ = _unpickle(data)
    order = ">" if isinstance(machine, dict) and machine.get("little_endian") is False else "<"
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in types for key in keys):
        raise MalformedError("its list of storages does not fit its tensors")
    blocks: Dict[str, Tuple[int, int]] = {}
    for key in keys:
        header = data.read(8)
        itemsize = 2 if types[key] == BFLOAT16 else np.dtype(types[key]).itemsize
        size = struct.unpack(f"{order}q", header)[0] * itemsize if len(header) == 8 else -1
        if not 0 <= size <= len(data) - data.tell():
            raise MalformedError(f"it is truncated in storage {key!r}")
        blocks[key] = (data.tell(), size)
        data.seek(size, io.SEEK_CUR)
    return content, _Views(data, blocks, order)


def _equals(value: Any, number: int) -> bool:
    return isinstance(value, int) and value == number


def _unpickle(file: Any) -> Tuple[Any, Dict[str, str]]:
    """(content, {storage key: type}) of the pickle that starts here, with _Tensor for each tensor."""
    unpickler = _TensorUnpickler(file)
    try:
        return unpickler.load(), unpickler.storage_types
    except MalformedError:
        raise
    # A damaged pickle can fail at any of the unpickler's operations, with whatever that operation raises.
    except Exception as error:
        raise MalformedError(f"its pickle is damaged or no state of a network ({type(error).__name__})") from None


class _TensorUnpickler(pickle._Unpickler):
    """Python's unpickler rather than C's, which lets a file choose how much memory to fill with zeros."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: Any):
        super().__init__(file, encoding="utf-8")
        self.storage_types: Dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("__builtin__", "builtins")
        if (module, name) in _KNOWN_NAMES:
            return _KNOWN_NAMES[module, name]
        if module == "torch" and name in STORAGE_TYPES:
            return _Type(STORAGE_TYPES[name])
        if (module, name) in IGNORED_NAMES or (module == "torch" and NUMBER_TYPE.fullmatch(name)):
            return _Ignored
        raise MalformedError(
            f"it asks for {module}.{name}, which is no part of a tensor and was not run. If you trust the file, "
            "save its state dict alone with torch"
        )

    def load_build(self) -> None:
        """Drop the state that would be set on an object: torch's has none that matters."""
        self.stack.pop()

    dispatch[pickle.BUILD[0]] = load_build

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage" or not isinstance(pid[1], _Type):
            raise MalformedError("a reference to something that is no storage")
        _, kind, key, _, numel, *view = pid
        if not isinstance(key, str) or self.storage_types.setdefault(key, kind.dtype) != kind.dtype:
            raise MalformedError(f"storage {key!r} has two types")
        start = 0
        if view and view[0] is not None:
            _, start, numel = _triple(view[0])
        _check_counts("storage", start, numel)
        return _Storage(kind.dtype, key, start, numel)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stands for torch._utils._rebuild_tensor_v2; what follows the strides concerns training."""
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise MalformedError("a tensor without storage, shape or strides")
    _check_counts("tensor", offset, *shape, *strides)
    if len(shape) != len(strides) or len(shape) > 32:
        raise MalformedError(f"a tensor of {len(shape)} sizes and {len(strides)} strides")
    numel = 1
    for size in shape:
        numel *= size
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    # More elements than the storage has (expanded ones, of stride 0) could fill the memory from a small file.
    if numel and (last >= storage.numel or numel > storage.numel):
        raise MalformedError(f"a tensor of shape {shape} reaches beyond its storage of {storage.numel} numbers")
    return _Tensor(storage, offset if numel else 0, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _triple(value: Any) -> tuple:
    if not isinstance(value, tuple) or len(value) != 3:
        raise MalformedError("a malformed view of a storage")
    return value


def _check_counts(what: str, *counts: Any) -> None:
    for count in counts:
        if not isinstance(count, int) or not 0 <= count < 1 << 62:
            raise MalformedError(f"a {what} with the size, stride or offset {str(count)[:40]}")


_KNOWN_NAMES: Dict[Tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}


def _state_dict(content: Any, depth: int = 3) -> Tuple[Dict[str, _Tensor], Tuple[str, ...]]:
    """({name: tensor}, names of what stands beside them) of a state dict or of a checkpoint around one."""
    if not isinstance(content, dict):
        raise MalformedError("it holds no dictionary of weights")
    tensors = {name: value for name, value in content.items() if isinstance(value, _Tensor)}
    if tensors:
        if not all(isinstance(name, str) for name in tensors):
            raise MalformedError("its tensors are not named by text")
        return tensors, _texts(name for name in content if name not in tensors)
    for name in NESTING:
        if depth and isinstance(content.get(name), dict):
            inner, ignored = _state_dict(content[name], depth - 1)
            return inner, (*_texts(other for other in content if other != name), *ignored)
    raise MalformedError(f"it holds no tensors, neither at the top nor under {', '.join(NESTING)}")


def _texts(names: Iterable[Any]) -> Tuple[str, ...]:
    return tuple(name for name in names if isinstance(name, str))
