"""Read weights that PyTorch saved before version 1.6, without PyTorch.

Such a file consists of five pickles (magic number, format version, facts about the machine, the
state dict, the keys of its storages), followed by the storages in the order of the keys: an int64
count and that many little-endian numbers. A tensor is a view of a storage: an offset, a size and
strides, in numbers rather than bytes.

Unpickling can run any code. Only files with a pinned SHA-256 are read, and only the four names that
occur in them can be imported.
"""

import hashlib
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import UserError

_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Replace PyTorch's classes by those above, and refuse to import anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, strides, *_: _Tensor(
                storage, offset, size, strides
            )
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} does not occur in weights")

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, _, length, _ = pid
        return _Storage(key, dtype, length)


def read(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Read a state dict in the format that PyTorch used before version 1.6.

    Args:
        path: the file.
        sha256: the SHA-256 that it must have, in hex.

    Returns:
        The arrays by name, in the order of the file: float32 or int64, contiguous copies.

    Raises:
        UserError: if the file is missing, or its SHA-256 is not the expected one.
    """
    remedy = "reinstall the package that it belongs to"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; {remedy}") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise UserError(
            f"{path} is damaged, or not the expected weights: its SHA-256 is {digest} instead of "
            f"{sha256}; {remedy}"
        )
    return _parse(io.BytesIO(data))


def _parse(file: io.BytesIO) -> dict[str, np.ndarray]:
    _magic, _version, _machine, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    arrays = {}
    for key in keys:
        file.seek(8, io.SEEK_CUR)  # the count, which the storage has, too
        dtype = np.dtype(storages[key].dtype)
        content = file.read(storages[key].length * dtype.itemsize)
        arrays[key] = np.frombuffer(content, dtype)
    return {name: _copy(tensor, arrays[tensor.storage.key]) for name, tensor in tensors.items()}


def _copy(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    strides = [stride * storage.itemsize for stride in tensor.strides]
    start = storage[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.size, strides, writeable=False).copy()
