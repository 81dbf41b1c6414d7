"""How many values of a Parquet column each row has, told by repetition levels, before Arrow makes anything of them.

Source: https://parquet.apache.org/docs/file-format/data-pages/encodings/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow

from mmstream.alive import progress
from mmstream_io.pages import DATA_V2, DELTA_LENGTHS, DELTA_TEXTS, Page

_LEVEL_LENGTH = 4
"""Bytes that say how long the levels are that follow, in pages of the first kind."""
_MOST_MINI_BLOCKS = 1 << 16


def content_of(file: BinaryIO, page: Page, codec: str) -> bytes:
    """What a page holds, unpacked.

    Args:
        file: opened in binary.
        page: of it.
        codec: that packed it, as Arrow calls it.

    Raises:
        ValueError, OSError: it is damaged.
    """
    progress()
    file.seek(page.place)
    bare = sum(page.levels)
    start, packed = file.read(bare), file.read(page.packed - bare)
    if len(start) + len(packed) < page.packed:
        raise ValueError("the file ends within a page")
    if codec == "UNCOMPRESSED" or not packed:
        return start + packed
    if codec == "LZ4" and packed[4:8] == (len(packed) - 8).to_bytes(4, "big"):  # as Hadoop frames it
        packed = packed[8:]
    name = "lz4_raw" if codec == "LZ4" else codec.lower()
    try:
        return start + pyarrow.Codec(name).decompress(packed, page.unpacked - bare, asbytes=True)
    except (pyarrow.ArrowException, OSError) as error:
        if page.kind == DATA_V2 and len(packed) == page.unpacked - bare:  # such a page may be left as it is
            return start + packed
        raise ValueError("a page cannot be unpacked") from error


class Rows(NamedTuple):
    """How the values of a column are spread over its rows.

    Attributes:
        most: the largest number of values of some rows that follow each other, by their number.
        readable: rows before the first that has more values than are read; None if none has.
    """

    most: dict[int, int]
    readable: int | None


def rows_of(pages: Iterable[tuple[Page, bytes]], largest: int, counts: Sequence[int], limit: int) -> Rows:
    """How the values of a column are spread over its rows.

    Args:
        pages: of the column, with their contents.
        largest: repetition level of the column.
        counts: numbers of rows that follow each other, the last the largest.
        limit: a row of more values is not read.

    Raises:
        ValueError: a page is damaged.
    """
    most = dict.fromkeys(counts, 0)
    kept = np.zeros(0, np.int64)  # where the last rows begin
    first = end = 0  # the row that `kept` begins with, and the number of values so far
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
    """A page of texts says of no more texts than it holds how long they are; Arrow makes room for as many as it says.

    Args:
        page: of texts whose lengths stand before them.
        content: of it.
        repeats: repetition level of the column.
        defines: definition level of the column.

    Raises:
        ValueError: it does, or is damaged.
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
    """Where whole numbers end that are kept as differences (DELTA_BINARY_PACKED), if they are so many at most."""
    block, place = _varint(content, place)
    mini_blocks, place = _varint(content, place)
    count, place = _varint(content, place)
    _, place = _varint(content, place)
    if count > most or not 0 < mini_blocks <= _MOST_MINI_BLOCKS or not block // mini_blocks:
        raise ValueError(f"a page says how long {count:,} texts are, and holds {most:,}")
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
    """How many values so many rows have at most that follow each other, by where each begins."""
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
    """The runs of small numbers: one number again and again, or several packed, so many at most."""
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
