"""Interprets the pickles of torch checkpoints without torch, and without running anything that a file contains.

Python's own unpickler does it, which here knows a handful of names: ordered dictionaries, the functions that rebuild a
tensor, and words that stand for types. Every other name ends the reading. Of tensors only records are made.
"""

import pickle
import re
from collections import OrderedDict
from typing import Any, Callable, Dict, NamedTuple, Tuple

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


class MalformedError(Exception):
    """What is wrong with the file; becomes a UserError that names it."""


class _Type(NamedTuple):
    """A torch storage class, such as FloatStorage."""

    dtype: str


class StorageRecord(NamedTuple):
    """A named block of numbers, possibly a part of it, of which only the size is known yet."""

    dtype: str
    key: str
    start: int
    numel: int


class TensorRecord(NamedTuple):
    """A view of a storage; sizes, strides and offset count elements and were checked against it."""

    storage: StorageRecord
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


def unpickle(file: Any) -> Tuple[Any, Dict[str, str]]:
    """(content, {storage key: type}) of the pickle that starts here, with TensorRecord for each tensor."""
    unpickler = _TensorUnpickler(file)
    try:
        return unpickler.load(), unpickler.storage_types
    except MalformedError:
        raise
    # A damaged pickle can fail at any of the unpickler's operations, with whatever that operation raises.
    except Exception as error:
        raise MalformedError(f"its pickle is damaged or not the state of a network ({type(error).__name__})") from None


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
            f"it asks for {module}.{name}, which is not part of a tensor and was not run. If you trust the file, "
            "save its state dict alone with torch"
        )

    def load_build(self) -> None:
        """Drop the state that would be set on an object: torch's has none that matters."""
        self.stack.pop()

    dispatch[pickle.BUILD[0]] = load_build

    def persistent_load(self, pid: Any) -> StorageRecord:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage" or not isinstance(pid[1], _Type):
            raise MalformedError("a reference to something that is not a storage")
        _, kind, key, _, numel, *view = pid
        if not isinstance(key, str) or self.storage_types.setdefault(key, kind.dtype) != kind.dtype:
            raise MalformedError(f"storage {key!r} has two types")
        start = 0
        if view and view[0] is not None:
            _, start, numel = _triple(view[0])
        _check_counts("storage", start, numel)
        return StorageRecord(kind.dtype, key, start, numel)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorRecord:
    """Stands for torch._utils._rebuild_tensor_v2; what follows the strides concerns training."""
    if not isinstance(storage, StorageRecord) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
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
    return TensorRecord(storage, offset if numel else 0, shape, strides)


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
