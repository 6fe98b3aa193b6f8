"""Reading weights that PyTorch saved before its version 1.6, without PyTorch.

Such a file is five pickles in a row (magic number, format version, facts about the machine, the
state dict, the keys of its storages), and then, for each key, an int64 count and so many raw
little-endian numbers. A tensor is a view of one storage: an offset, a size and strides, which are
those of a transposed array as often as not.

Unpickling can run any code and take any amount of memory, so the pickles are scanned first, and
only what such files hold is let through.
"""

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}

# What the pickles of a state dict are made of, strings and small numbers mostly.
_OPCODES = """
    PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET NONE NEWTRUE
    NEWFALSE BININT BININT1 BININT2 LONG1 BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
"""
_ALLOWED = frozenset(_OPCODES.split())
# Three times what the largest file here needs. Tuples in tuples by the million overflow the
# interpreter's own stack, and a memo index of a thousand million makes it ask for gigabytes.
_MAX_OPCODES = 50_000

_REMEDY = "The file may be damaged: fetch it again, or reinstall the package it came with."


class _UnreadableError(Exception):
    """Why a file cannot be read, and what to do about it."""

    def __init__(self, reason: str, remedy: str = _REMEDY) -> None:
        super().__init__(reason)
        self.remedy = remedy


# Tuples, because the opcode BUILD could change the attributes of anything else after the checks.
class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count numbers, not bytes."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Turns the four names that occur into our own stand-ins, and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise _UnreadableError(
            f"it refers to {f'{module}.{name}'[:80]!r}, which weights have no need of",
            "Do not trust this file: it may be made to run code. Get one with plain weights.",
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, count, view = pid
        known = kind == "storage" and storage_type in _DTYPES and view is None
        _check(known, "it refers to its data in a way not known here")
        _check(isinstance(key, str) and _natural(count), "it describes a storage wrongly")
        return _Storage(key, _DTYPES[storage_type], count)

    def _tensor(self, storage: Any, offset: Any, size: Any, strides: Any, *_: Any) -> _Tensor:
        # What follows (requires_grad, hooks) is about training.
        described = isinstance(storage, _Storage) and len(size) == len(strides)
        numbers = all(_natural(value) for value in (offset, *size, *strides))
        _check(described and numbers, "it describes a tensor wrongly")
        return _Tensor(storage, offset, tuple(size), tuple(strides))


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a state dict in the serialisation that PyTorch used before version 1.6.

    Returns:
        The arrays by name, in the file's order: float32 or int64, of the shapes PyTorch gave
        them, each contiguous and a copy of its own.

    Raises:
        UserError: where the file is missing, damaged, unsafe or in another format.
    """
    try:
        return _parse(path.read_bytes())
    except _UnreadableError as error:
        raise _refusal(path, str(error), error.remedy) from None
    except OSError as error:
        raise _refusal(path, error.strerror or "it cannot be opened", "Check the path.") from error
    except Exception as error:  # A damaged pickle may raise whatever it likes.
        reason = f"it is damaged, or something else altogether ({type(error).__name__})"
        raise _refusal(path, reason, _REMEDY) from error


def _refusal(path: Path, reason: str, remedy: str) -> UserError:
    return UserError(f"{path} does not read as PyTorch weights: {reason}. {remedy}")


def _parse(data: bytes) -> dict[str, np.ndarray]:
    if data.startswith(b"PK"):
        raise _UnreadableError(
            "it is in the zip format of PyTorch 1.6 and later",
            "Save it again with torch.save(..., _use_new_zipfile_serialization=False).",
        )
    file = io.BytesIO(data)
    _check(_load(file) == _MAGIC, "it does not begin with PyTorch's magic number")
    _check(_load(file) == _VERSION, f"its format version is not {_VERSION}")
    _check(_load(file).get("little_endian") is True, "its numbers are not little-endian")
    tensors = _load(file)
    _check(isinstance(tensors, dict), "it holds no state dict")
    for name, tensor in tensors.items():
        _check(isinstance(name, str) and isinstance(tensor, _Tensor), "it holds no state dict")
    total = sum(math.prod(tensor.size) for tensor in tensors.values())
    _check(total <= len(data), "its tensors claim to be larger than the file")
    announced = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    storages = _read_storages(file, _load(file), announced)
    return {name: _view(name, tensor, storages) for name, tensor in tensors.items()}


def _load(file: io.BytesIO) -> Any:
    """Unpickle the object that begins here, and leave the file just behind it."""
    start, tuples, on_top = file.tell(), set[Any](), False
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        _check(opcode.name in _ALLOWED, f"weights have no need of the pickle opcode {opcode.name}")
        memo = argument if opcode.name == "LONG_BINPUT" else 0
        _check(max(number, memo or 0) < _MAX_OPCODES, "its pickles are too large for weights")
        # Tuples that hold one tuple twice, and so on, take for ever to hash.
        if opcode.name.endswith("BINPUT"):
            (tuples.add if on_top else tuples.discard)(argument)
        elif opcode.name.endswith("BINGET"):
            _check(argument not in tuples, "weights have no need of a tuple twice")
            on_top = False
        elif opcode.name != "PROTO":
            on_top = "TUPLE" in opcode.name
    file.seek(start)
    return _Unpickler(file).load()


def _read_storages(
    file: io.BytesIO, keys: Any, announced: dict[str, _Storage]
) -> dict[_Storage, np.ndarray]:
    """The raw numbers, which lie in the order of the keys."""
    arrays = {}
    for key in keys:
        storage = announced[key]
        dtype = np.dtype(storage.dtype)
        length = file.read(8)
        raw = file.read(storage.length * dtype.itemsize)
        _check(len(raw) == storage.length * dtype.itemsize, "it ends too soon")
        same = int.from_bytes(length, "little") == storage.length
        _check(same, f"storage {key[:80]!r} has another length than announced")
        arrays[storage] = np.frombuffer(raw, dtype)
    return arrays


def _view(name: str, tensor: _Tensor, storages: dict[_Storage, np.ndarray]) -> np.ndarray:
    """Copy a tensor out of its storage, once it is sure that all of it lies inside."""
    array = storages[tensor.storage]
    length = math.prod(tensor.size)
    steps = zip(tensor.size, tensor.strides, strict=True)
    last = tensor.offset + sum((size - 1) * stride for size, stride in steps)
    # The length is checked too: with strides of 0 a huge tensor fits into a single number.
    inside = length == 0 or (last < len(array) and length <= len(array))
    _check(inside, f"the tensor {name[:80]!r} reaches beyond its storage")
    if length == 0:
        return np.empty(tensor.size, array.dtype)
    strides = [stride * array.itemsize for stride in tensor.strides]
    start = array[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.size, strides, writeable=False).copy()


def _natural(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _check(holds: bool, reason: str) -> None:
    if not holds:
        raise _UnreadableError(reason)
