"""Find the true size of the pictures in an AVIF, whatever its boxes say: libavif checks it only after decoding.

Source: AV1 bitstream specification, 5.3 and 5.5 (open bitstream units, sequence header); ISO/IEC 14496-12, 8.11.3 and
8.7.5 (where items and chunks lie).
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

MOST_PLACES = 4096
"""The most positions at which pictures may begin; a grid has one for each of its cells."""
_MOST_BOXES = 64
_MOST_UNITS = 16
_MOST_EXTENTS = 64
_BOXES = re.compile(rb"iloc|stco|co64|av1C")
_DATA_BOX = re.compile(rb"idat")
_SEQUENCE_HEADER = 1
_CONFIGURATION_BYTES = 4


def largest(data: bytes) -> tuple[int, int]:
    """Width and height of the largest frame that a sequence header announces; zeros if none is found."""
    size = (0, 0)
    for place in itertools.islice(dict.fromkeys(_places(data)), MOST_PLACES):
        size = max(size, _size_at(data, place), key=lambda size: size[0] * size[1])
    return size


def _places(data: bytes) -> Iterator[int]:
    """The positions of the data of items and of chunks."""
    bases = bases_of(data)
    for match in itertools.islice(_BOXES.finditer(data), _MOST_BOXES):
        start = match.end()
        if match[0] == b"av1C":
            yield start + _CONFIGURATION_BYTES
        elif match[0] == b"iloc":
            for item in itertools.islice(items_in(data, start), MOST_PLACES):
                yield item.place
                yield from (base + item.place for base in bases)
        else:
            width = 4 if match[0] == b"stco" else 8
            count = int.from_bytes(data[start + 4 : start + 8], "big")
            for number in range(min(count, MOST_PLACES)):
                yield int.from_bytes(data[start + 8 + number * width : start + 8 + (number + 1) * width], "big")


def bases_of(data: bytes) -> list[int]:
    """The positions of the contents of data boxes, relative to which items may be placed."""
    return [match.end() for match in itertools.islice(_DATA_BOX.finditer(data), _MOST_BOXES)]


class Item(NamedTuple):
    """The declared position of an item.

    Attributes:
        id: of the item.
        within: whether its position is counted from the start of a data box.
        place: position of its first extent.
        size: bytes of its extents, of at most 64 of them; another item may have the same ones.
    """

    id: int
    within: bool
    place: int
    size: int


def items_in(data: bytes, place: int) -> Iterator[Item]:
    """The items of the location box whose content begins at `place`."""
    if place + 8 > len(data):
        return
    version, sizes = data[place], struct.unpack_from(">H", data, place + 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2
    count = int.from_bytes(data[place + 6 : place + 6 + wide], "big")
    place += 6 + wide
    index_size = index_size if version else 0
    for _ in range(min(count, MOST_PLACES)):
        item = int.from_bytes(data[place : place + wide], "big")
        within = bool(version and data[place + wide + 1 : place + wide + 2] == b"\1")
        place += wide + (2 if version else 0) + 2
        base = int.from_bytes(data[place : place + base_size], "big")
        place += base_size
        extents = int.from_bytes(data[place : place + 2], "big")
        place += 2 + index_size
        first = base + int.from_bytes(data[place : place + offset_size], "big")
        step = index_size + offset_size + length_size
        ends = [place + offset_size + number * step for number in range(min(extents, _MOST_EXTENTS))]
        lengths = [int.from_bytes(data[end : end + length_size], "big") for end in ends]
        yield Item(item, within, first, sum(length or len(data) for length in lengths))
        place += extents * step - index_size
        if place >= len(data):
            return


def _size_at(data: bytes, place: int) -> tuple[int, int]:
    """Width and height by the first sequence header among the units that begin at `place`."""
    for _ in range(_MOST_UNITS):
        if place >= len(data):
            break
        head = data[place]
        kind, extended, sized = head >> 3 & 15, head >> 2 & 1, head >> 1 & 1
        place += 1 + extended
        length, bytes_of_length = _number(data, place) if sized else (len(data) - place, 0)
        place += bytes_of_length
        if head & 0x81:  # reserved bits, always 0
            break
        if kind == _SEQUENCE_HEADER:
            return _size_in(data[place : place + min(length, 512)])
        place += length
    return 0, 0


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, and the number of bytes that it takes."""
    value = 0
    for count, byte in enumerate(data[place : place + 8]):
        value |= (byte & 0x7F) << 7 * count
        if not byte & 0x80:
            return value, count + 1
    return value, 8


def _size_in(body: bytes) -> tuple[int, int]:
    """Width and height in a sequence header."""
    bits = Bits(body)
    bits.take(4)
    if bits.take(1):  # a still picture with a reduced header
        bits.take(5)
    else:
        _pass_over_operation(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(across) + 1, bits.take(down) + 1


def _pass_over_operation(bits: Bits) -> None:
    """Skip the timing and the operating points in a sequence header."""
    delay_bits = 0
    if bits.take(1):
        bits.take(64)
        if bits.take(1):
            zeros = 0
            while not bits.take(1) and zeros < 32:
                zeros += 1
            bits.take(zeros)
        if bits.take(1):
            delay_bits = bits.take(5) + 1
            bits.take(42)
    delays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if delays and bits.take(1):
            bits.take(4)


class Bits:
    """Reads numbers from bits, most significant bit first; reads zeros past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        self._left -= count
        value = self._data >> self._left if self._left >= 0 else self._data << -self._left
        return value & ((1 << count) - 1)
