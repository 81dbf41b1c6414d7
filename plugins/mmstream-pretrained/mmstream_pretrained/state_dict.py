"""Reading the weights of a PyTorch file without PyTorch, and without running anything that the file asks for.

Such a file is a pickle, which is a program: Python's own unpickler would run whatever it says. Here, it may only name
tensors and ordered dicts; anything else is refused.
"""

from __future__ import annotations

import collections
import io
import pickle
import struct
from typing import Any, NamedTuple

import numpy as np

from mmstream.errors import MmstreamError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_DTYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


class _Storage(NamedTuple):
    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> _Tensor:
    """What a file calls to make a tensor; it only takes note of it."""
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without numbers")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _Unpickler(pickle.Unpickler):
    """Knows ordered dicts and tensors alone."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, *_ = pid
        if kind != "storage" or dtype not in _DTYPES:
            raise pickle.UnpicklingError(f"it holds {kind!r} of {dtype!r}")
        return _Storage(str(key), _DTYPES[dtype], int(size))


def read_state_dict(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The tensors of a file that `torch.save` wrote in its first format, as numpy.

    Args:
        data: the contents of the file.
        name: of the file, for messages.

    Raises:
        MmstreamError: it is not such a file, or asks for anything else than tensors.
    """
    file = io.BytesIO(data)
    try:
        if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
            raise pickle.UnpicklingError("it is not a file of PyTorch's first format")
        _Unpickler(file).load()  # about the machine that wrote it
        tensors = _Unpickler(file).load()
        keys = _Unpickler(file).load()
        if not isinstance(tensors, dict) or not all(isinstance(each, _Tensor) for each in tensors.values()):
            raise pickle.UnpicklingError("it holds something else than a dict of tensors")
        storages = {each.storage.key: each.storage for each in tensors.values()}
        numbers = {key: _read(file, storages[key]) for key in keys}
        return {str(key): _array(numbers[each.storage.key], each) for key, each in tensors.items()}
    except (
        pickle.UnpicklingError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        struct.error,
        IndexError,
        AttributeError,
    ) as error:
        raise MmstreamError(f"the weights {name} are not read: {error}") from error


def _read(file: io.BytesIO, storage: _Storage) -> np.ndarray:
    (size,) = struct.unpack("<q", file.read(8))
    if size != storage.size:
        raise ValueError(f"{size} numbers where {storage.size} were announced")
    return np.frombuffer(file.read(size * np.dtype(storage.dtype).itemsize), storage.dtype, size)


def _array(numbers: np.ndarray, tensor: _Tensor) -> np.ndarray:
    """A tensor, which must lie within the numbers of its storage."""
    offset, shape, strides = tensor.offset, tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise ValueError("a tensor has a shape or an offset that is impossible")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 in shape or last >= len(numbers):
        raise ValueError("a tensor is empty, or lies outside its numbers")
    steps = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False).copy()
