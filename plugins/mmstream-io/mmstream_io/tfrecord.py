"""TFRecord files of `tf.train.Example`, read without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError

from mmstream.interfaces import Row, Source, Split
from mmstream.runtime.alive import progress
from mmstream_io import conversion, inputs, limits
from mmstream_io.examples import Example, check_example

SPLIT_BYTES = 32 * 1024 * 1024
_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_CHECKSUM_MASK = 0xA282EAD8
_PROGRESS_RECORDS = 256


class _Frame(NamedTuple):
    """A record of a file: the positions of its first byte and after its last, its data, and why it cannot be read."""

    start: int
    end: int
    data: bytes
    error: Exception | None


class Tfrecord(Source):
    """Reads TFRecord files of `tf.train.Example`. Files may be gzipped (.gz).

    A feature is a column: no value is None, one is itself, several are a list. Bytes that are valid UTF-8 are text,
    as an Example does not distinguish text from bytes. A record becomes a row with an error if its checksum does not
    match, if it is larger than 64 MiB, if it has more than 16,384 features or 1,048,576 values, or if it is not an
    Example (a SequenceExample is not). If a length cannot be trusted, the rest of the file becomes one such row.

    Source: https://www.tensorflow.org/tutorials/load_data/tfrecord

    Args:
        lists: columns that are lists however many values they have, such as tags.
    """

    suffixes = (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz")

    def __init__(self, *, lists: tuple[str, ...] = ()) -> None:
        self.lists = frozenset(lists)

    def splits(self, path: str) -> list[Split]:
        """Pieces of about 32 MiB; a gzipped file is a single piece.

        Raises:
            MmstreamError: a file cannot be read.
        """
        return [split for file in inputs.find(self, path, "tfrecord") for split in _cut(file)]

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is "<file>:<number of the record>"."""
        with inputs.open_file(split.path) as file:
            file.seek(split.start)
            frames = _frames(file, split.start, split.end)
            for number, frame in enumerate(frames, split.first):
                yield self._row(f"{split.origin}:{number}", frame)

    def _row(self, origin: str, frame: _Frame) -> Row:
        if frame.error:
            return Row(origin, None, frame.data[: limits.RAW_BYTES], frame.error)
        try:
            return Row(origin, self._columns(frame.data))
        except DecodeError as error:
            error = ValueError(f"not a tf.train.Example: {error}")
            return Row(origin, None, frame.data[: limits.RAW_BYTES], error)
        except ValueError as error:
            return Row(origin, None, frame.data[: limits.RAW_BYTES], error)

    def _columns(self, data: bytes) -> dict[str, Any]:
        """The columns of a record.

        Raises:
            DecodeError: it is not an Example.
            ValueError: it holds too much.
        """
        features = _features(data)
        return {name: self._column(name, features[name]) for name in sorted(features)}

    def _column(self, name: str, feature: Any) -> Any:
        kind = feature.WhichOneof("kind")
        values = [_plain(value, kind) for value in getattr(feature, kind).value] if kind else []
        if name in self.lists:
            return values
        return (values[0] if len(values) == 1 else values) if values else None


def _features(data: bytes) -> Any:
    """The features of an Example, by name.

    Raises:
        DecodeError: it is not an Example, or holds fields that an Example does not have, which would be lost.
        ValueError: it holds too many features or values.
    """
    check_example(data)
    example = Example.FromString(data)
    size = example.ByteSize()
    example.DiscardUnknownFields()
    if example.ByteSize() != size:
        raise DecodeError("it holds something other than features")
    features = example.features.feature
    if len(features) > limits.MAX_COLUMNS:
        raise ValueError(f"the record has {len(features):,} features; the limit is {limits.MAX_COLUMNS:,}")
    return features


def _plain(value: Any, kind: str) -> Any:
    """Convert a value to what other formats would hold: a float32 becomes the shortest decimal that represents it."""
    return conversion.plain(float(str(np.float32(value))) if kind == "float_list" else value)


def _cut(file: inputs.InputFile) -> Iterator[Split]:
    start = end = rows = 0
    first = 1
    most = inputs.piece_bytes(file.path, SPLIT_BYTES)
    with inputs.open_file(file.path) as opened:
        for frame in _frames(opened, 0, None, skim=True):
            if rows and frame.end - start > most:
                yield Split(file.path, rows, file.origin, first, start, end)
                start, first, rows = end, first + rows, 0
            rows, end = rows + 1, frame.end
    if rows:
        yield Split(file.path, rows, file.origin, first, start, end)


def _frames(file: BinaryIO, position: int, end: int | None, *, skim: bool = False) -> Iterator[_Frame]:
    """The records of a file from a position on; without their data if `skim`."""
    number = 0
    while end is None or position < end:
        number += 1
        if not number % _PROGRESS_RECORDS:
            progress()
        header = file.read(_HEADER.size)
        if not header:
            return
        problem = _problem(header)
        if problem is None:
            size, _ = _HEADER.unpack(header)
            data, error = _data(file, size, skim)
            tail = file.read(_CHECKSUM.size)
            if len(tail) == _CHECKSUM.size:
                if not skim and error is None and _masked(data) != _CHECKSUM.unpack(tail)[0]:
                    error = ValueError("the checksum of the record does not match")
                start, position = position, position + _HEADER.size + size + _CHECKSUM.size
                yield _Frame(start, position, data, error)
                continue
            problem = "the file ends within a record"
        rest = position + len(header)
        file.seek(rest)
        while block := file.read(1 << 20):
            progress()
            rest += len(block)
        yield _Frame(position, rest, header, ValueError(problem))
        return


def _problem(header: bytes) -> str | None:
    if len(header) < _HEADER.size:
        return "the file ends within a record"
    _, checksum = _HEADER.unpack(header)
    if _masked(header[:8]) != checksum:
        return "no record begins here: the checksum of its length does not match; what follows cannot be read"
    return None


def _data(file: BinaryIO, size: int, skim: bool) -> tuple[bytes, ValueError | None]:
    """The data of a record, or its beginning and why no more is read."""
    if size > limits.MAX_ROW_BYTES:
        data = file.read(min(size, limits.RAW_BYTES))
        left = size - len(data)
        while left and (block := file.read(min(left, 1 << 20))):  # the length may exceed what a file can seek
            progress()
            left -= len(block)
        return data, ValueError(f"the record has {size:,} bytes, more than the limit of {limits.MAX_ROW_BYTES:,}")
    if skim:
        file.seek(size, 1)
        return b"", None
    return file.read(size), None


def _masked(data: bytes) -> int:
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + _CHECKSUM_MASK) & 0xFFFFFFFF
