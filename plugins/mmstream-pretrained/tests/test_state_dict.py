"""Weights of PyTorch files are read without PyTorch, and nothing in the file is run."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import sys
import types

import numpy as np
import pytest
from mmstream_pretrained.state_dict import read_state_dict

from mmstream.errors import MmstreamError


class Storage:
    """What a file of PyTorch says about the numbers of a tensor."""

    def __init__(self, kind, key, numbers):
        self.kind, self.key, self.numbers = kind, key, numbers


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Writer(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", obj.kind, obj.key, "cpu", len(obj.numbers), None)
        return None


@pytest.fixture
def written(monkeypatch):
    """Writes a state dict as PyTorch's first format does."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2():
        raise AssertionError("it was called")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def write(state, storages, magic=0x1950A86A20F9469CFC6C):
        out = io.BytesIO()
        for value in (magic, 1001, {"little_endian": True}, state, [each.key for each in storages]):
            Writer(out, 2).dump(value)
        for each in storages:
            out.write(struct.pack("<q", len(each.numbers)) + each.numbers.tobytes())
        return out.getvalue()

    return types.SimpleNamespace(write=write, torch=torch)


def test_tensors_are_read_whatever_their_strides(written):
    floats = Storage(written.torch.FloatStorage, "a", np.arange(12, dtype=np.float32))
    whole = Storage(written.torch.LongStorage, "b", np.array([7], np.int64))
    state = collections.OrderedDict(
        kernel=Tensor(floats, 0, (3, 4), (4, 1)),
        turned=Tensor(floats, 0, (4, 3), (1, 4)),
        part=Tensor(floats, 5, (2,), (1,)),
        count=Tensor(whole, 0, (), ()),
    )
    read = read_state_dict(written.write(state, [floats, whole]), "weights.pth")
    kernel = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(read["kernel"], kernel)
    np.testing.assert_array_equal(read["turned"], kernel.T)
    np.testing.assert_array_equal(read["part"], [5, 6])
    assert read["count"] == 7


class Runs:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_a_file_with_code_is_refused_and_nothing_runs(written, tmp_path):
    place = str(tmp_path / "made")
    for value in (written.write({"a": Runs(place)}, []), pickle.dumps(Runs(place)), pickle.dumps(Runs(place), 0)):
        with pytest.raises(MmstreamError, match=r"weights\.pth are not read: it asks for (posix|nt)\.mkdir"):
            read_state_dict(value, "weights.pth")
    assert not os.path.exists(place)  # noqa: PTH110


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (11, (2,), (1,)),
        (0, (3, 5), (4, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (10**12,), (1,)),
    ],
)
def test_a_tensor_that_reaches_beyond_its_numbers_is_refused(written, offset, shape, strides):
    floats = Storage(written.torch.FloatStorage, "a", np.arange(12, dtype=np.float32))
    data = written.write({"a": Tensor(floats, offset, shape, strides)}, [floats])
    with pytest.raises(MmstreamError, match="are not read: a tensor "):
        read_state_dict(data, "weights.pth")


def test_other_files_are_refused(written):
    floats = Storage(written.torch.FloatStorage, "a", np.arange(12, dtype=np.float32))
    good = written.write({"a": Tensor(floats, 0, (12,), (1,))}, [floats])
    others = [b"", b"no pickle", good[:-1], good[:60], written.write({"a": 1}, []), written.write([1], [])]
    others += [written.write({"a": 1}, [], magic=1), pickle.dumps({"a": 1})]
    for data in others:
        with pytest.raises(MmstreamError, match=r"the weights weights\.pth are not read"):
            read_state_dict(data, "weights.pth")
