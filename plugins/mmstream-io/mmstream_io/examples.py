"""TensorFlow's message `tf.train.Example`, without TensorFlow, and a check of its size before it is parsed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from mmstream_io import limits

_SMALL = 1024 * 1024
"""A message of fewer bytes cannot hold too much, and need not be checked."""
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
"""Wire types of protocol buffers."""
_LARGEST = 70
"""The most bits of a whole number on the wire."""
_MORE, _CUT_OFF = "it holds something other than features", "it is cut off"
_FLOATS, _INTEGERS = 2, 3
"""Numbers of the fields of a feature that hold floats and integers."""


def check_example(data: bytes) -> None:
    """Check that a serialised Example does not hold too many features and values, which may take only a byte each.

    Raises:
        DecodeError: it is not an Example, or holds anything but features.
        ValueError: it holds too many.
    """
    if len(data) >= _SMALL:
        _Look(data).at_example()


class _Look:
    """Counts the features and values of a serialised Example.

    Args:
        data: of the Example.

    Raises:
        DecodeError: it is not an Example.
        ValueError: it holds too much.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._features = self._values = 0

    def at_example(self) -> None:
        """Count the features and values of the whole Example."""
        for number, start, end in self._fields(0, len(self._data)):
            if number != 1:
                raise DecodeError(_MORE)
            for inner, *place in self._fields(start, end):
                if inner != 1:
                    raise DecodeError(_MORE)
                self._at_entry(*place)

    def _at_entry(self, start: int, end: int) -> None:
        self._features += 1
        if self._features > limits.MAX_COLUMNS:
            raise ValueError(f"the record has more than the limit of {limits.MAX_COLUMNS:,} features")
        for number, *feature in self._fields(start, end):
            if number == 2:
                for kind, *values in self._fields(*feature):
                    self._at_values(kind, *values)

    def _at_values(self, kind: int, start: int, end: int) -> None:
        """Count a list of values, which may be packed."""
        place = start
        while place < end:
            tag, place = self._varint(place, end)
            if tag == 1 << 3 | _BYTES:
                size, place = self._varint(place, end)
                self._count(self._packed(kind, place, min(place + size, end)))
                place += size
            elif tag == 1 << 3 | _FIXED32 and kind == _FLOATS:
                self._count(1)
                place += 4
            elif tag == 1 << 3 | _VARINT and kind == _INTEGERS:
                self._count(1)
                _, place = self._varint(place, end)
            else:
                raise DecodeError(_MORE)
            if place > end:
                raise DecodeError(_CUT_OFF)

    def _packed(self, kind: int, start: int, end: int) -> int:
        """The number of packed values, at least one; the last byte of an integer is below 128."""
        if kind == _FLOATS:
            return max(1, (end - start) // 4)
        if kind != _INTEGERS:
            return 1
        return max(1, int(np.count_nonzero(np.frombuffer(self._data, np.uint8, end - start, start) < 128)))

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The fields of a message that holds only messages and texts: number, start and end of each."""
        place = start
        while place < end:
            self._count(1)
            tag, place = self._varint(place, end)
            if tag & 7 != _BYTES or not 1 <= tag >> 3 <= 3:
                raise DecodeError(_MORE)
            size, place = self._varint(place, end)
            if place + size > end:
                raise DecodeError(_CUT_OFF)
            yield tag >> 3, place, place + size
            place += size

    def _count(self, more: int) -> None:
        self._values += more
        if self._values > limits.MAX_VALUES:
            raise ValueError(f"the record has more than the limit of {limits.MAX_VALUES:,} values")

    def _varint(self, place: int, end: int) -> tuple[int, int]:
        """A whole number on the wire, and the position after it."""
        value = shift = 0
        while place < end and shift < _LARGEST:
            byte = self._data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, place
            shift += 7
        raise DecodeError(_CUT_OFF)


def _example_class() -> Any:
    """The message class of tf.train.Example, in a pool of its own: TensorFlow registers it in the common one."""
    proto = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto

    def message(name: str) -> descriptor_pb2.DescriptorProto:
        return proto.message_type.add(name=name)

    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        message(name).field.add(name="value", number=1, label=field.LABEL_REPEATED, type=kind)

    def add(owner: Any, name: str, number: int, of: str, label: Any = field.LABEL_OPTIONAL, **more: Any) -> None:
        owner.field.add(
            name=name, number=number, label=label, type=field.TYPE_MESSAGE, type_name=f".tensorflow.{of}", **more
        )

    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, of) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), 1
    ):
        add(feature, name, number, of, oneof_index=0)
    features = message("Features")
    entry = features.nested_type.add(name="FeatureEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    add(entry, "value", 2, "Feature")
    add(features, "feature", 1, "Features.FeatureEntry", field.LABEL_REPEATED)
    add(message("Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = _example_class()
"""The class of `tf.train.Example` for Python's protocol buffers."""
