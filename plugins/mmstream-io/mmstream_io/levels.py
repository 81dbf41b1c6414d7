"""Count the values of a Parquet column in each row, from repetition levels, before Arrow reads the values.

Source: https://parquet.apache.org/docs/file-format/data-pages/encodings/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow

from mmstream.runtime.alive import progress
from mmstream_io.pages import DATA_V2, DELTA_LENGTHS, DELTA_TEXTS, Page

_LEVEL_LENGTH = 4
"""Bytes that state the length of the levels, in pages of the first version."""
_MOST_MINI_BLOCKS = 1 << 16


def content_of(file: BinaryIO, page: Page, codec: str) -> bytes:
    """Unpack the content of a page.

    Args:
        file: opened in binary.
        page: of the file.
        codec: that compressed it, by Arrow's name.

    Raises:
        ValueError, OSError: the page is damaged.
    """
    progress()
    file.seek(page.place)
    bare = sum(page.levels)
    start, packed = file.read(bare), file.read(page.packed - bare)
    if len(start) + len(packed) < page.packed:
        raise ValueError("the file ends within a page")
    if codec == "UNCOMPRESSED" or not packed:
        return start + packed
    if codec == "LZ4" and packed[4:8] == (len(packed) - 8).to_bytes(4, "big"):  # in Hadoop's framing
        packed = packed[8:]
    name = "lz4_raw" if codec == "LZ4" else codec.lower()
    try:
        return start + pyarrow.Codec(name).decompress(packed, page.unpacked - bare, asbytes=True)
    except (pyarrow.ArrowException, OSError) as error:
        if page.kind == DATA_V2 and len(packed) == page.unpacked - bare:  # such a page may be uncompressed
            return start + packed
        raise ValueError("a page cannot be unpacked") from error


class Rows(NamedTuple):
    """How the values of a column are spread over its rows.

    Attributes:
        most: by number of consecutive rows, the most values that so many rows hold.
        readable: how many rows precede the first with too many values; None if no row has too many.
    """

    most: dict[int, int]
    readable: int | None


def rows_of(pages: Iterable[tuple[Page, bytes]], largest: int, counts: Sequence[int], limit: int) -> Rows:
    """How the values of a column are spread over its rows.

    Args:
        pages: of the column, with their contents.
        largest: repetition level of the column.
        counts: numbers of consecutive rows, in ascending order.
        limit: the most values that a row may have.

    Raises:
        ValueError: a page is damaged.
    """
    most = dict.fromkeys(counts, 0)
    kept = np.zeros(0, np.int64)  # where the last rows begin
    first = end = 0  # the first row of `kept`, and the number of values so far
    readable = None

    def look(starts: np.ndarray) -> None:
        nonlocal readable
        for count in counts:
            most[count] = max(most[count], _widest(starts, count))
        if readable is None and most[1] > limit:
            readable = first + int(np.argmax(np.diff(starts) > limit))

    for page, content in pages:
        levels = _repetition_levels(page, content, largest)
        starts = np.concatenate([kept, np.flatnonzero(levels == 0) + end])
        end += page.values
        look(starts)
        kept = starts[-counts[-1] :]
        first += len(starts) - len(kept)
    look(np.append(kept, end))
    return Rows(most, readable)


def check_lengths(page: Page, content: bytes, repeats: int, defines: int) -> None:
    """Check that a page of texts does not declare more lengths than it has texts, as Arrow allocates memory for them.

    Args:
        page: of texts, with their lengths before them.
        content: of the page.
        repeats: repetition level of the column.
        defines: definition level of the column.

    Raises:
        ValueError: the page does, or is damaged.
    """
    if page.encoding not in (DELTA_LENGTHS, DELTA_TEXTS):
        return
    place = sum(page.levels)
    if page.kind != DATA_V2:
        for level in (repeats, defines):
            if level:
                place += _LEVEL_LENGTH + int.from_bytes(content[place : place + _LEVEL_LENGTH], "little")
    for _ in range(1 if page.encoding == DELTA_LENGTHS else 2):
        place = _after_numbers(content, place, page.values)


def _after_numbers(content: bytes, place: int, most: int) -> int:
    """Skip whole numbers stored as differences (DELTA_BINARY_PACKED), at most `most`; gives the position after them."""
    block, place = _varint(content, place)
    mini_blocks, place = _varint(content, place)
    count, place = _varint(content, place)
    _, place = _varint(content, place)
    if count > most or not 0 < mini_blocks <= _MOST_MINI_BLOCKS or not block // mini_blocks:
        raise ValueError(f"a page lists the lengths of {count:,} texts, but holds only {most:,}")
    left, each = count - 1, block // mini_blocks
    while left > 0:
        _, place = _varint(content, place)
        widths = content[place : place + mini_blocks]
        place += mini_blocks
        if len(widths) < mini_blocks:
            raise ValueError("the page is cut off")
        for width in widths:
            if left > 0:
                place += each * width // 8
                left -= each
    return place


def _widest(starts: np.ndarray, rows: int) -> int:
    """The most values that `rows` consecutive rows have, given where each row begins."""
    if len(starts) <= rows:
        return int(starts[-1] - starts[0]) if len(starts) else 0
    return int((starts[rows:] - starts[:-rows]).max())


def _repetition_levels(page: Page, content: bytes, largest: int) -> np.ndarray:
    """uint8[values]: 0 where a row begins."""
    if page.kind == DATA_V2:
        data = content[: page.levels[0]]
    else:
        length = int.from_bytes(content[:_LEVEL_LENGTH], "little")
        data = content[_LEVEL_LENGTH : _LEVEL_LENGTH + length]
    runs, left = [], page.values
    for run in _runs(data, largest.bit_length(), page.values):
        runs.append(run[:left])
        left -= len(runs[-1])
        if not left:
            return np.concatenate(runs)
    if left:
        raise ValueError("the page has fewer repetition levels than values")
    return np.zeros(0, np.uint8)


def _runs(data: bytes, width: int, most: int) -> Iterator[np.ndarray]:
    """The runs of small numbers: one number repeated, but no more than `most` times, or several packed."""
    place = 0
    while place < len(data):
        head, place = _varint(data, place)
        count = head >> 1
        if head & 1:
            size = count * width
            packed = np.frombuffer(data, np.uint8, min(size, len(data) - place), place)
            bits = np.unpackbits(packed, bitorder="little")
            if width == 1:
                yield bits
            else:
                numbers = bits[: len(bits) // width * width].reshape(-1, width) << np.arange(width, dtype=np.uint8)
                yield numbers.sum(1, dtype=np.uint8)
            place += size
        else:
            yield np.full(min(count, most), data[place] if place < len(data) else 0, np.uint8)
            place += (width + 7) // 8


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("the page is cut off")
