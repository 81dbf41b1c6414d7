"""How large the pictures within an AVIF are, whatever its boxes say; libavif decodes them before it compares.

Source: AV1 bitstream specification, 5.3 and 5.5 (open bitstream units, sequence header); ISO/IEC 14496-12, 8.11.3 and
8.7.5 (where items and chunks lie).
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator

MOST_PLACES = 4096
"""Where pictures may begin; a grid has one for each of its cells."""
_MOST_BOXES = 64
_MOST_UNITS = 16
_BOXES = re.compile(rb"iloc|stco|co64|av1C")
_DATA_BOX = re.compile(rb"idat")
_SEQUENCE_HEADER = 1
_CONFIGURATION_BYTES = 4


def largest(data: bytes) -> tuple[int, int]:
    """Width and height of the largest frame that a sequence header announces; zeros if none is found."""
    found = (0, 0)
    for place in itertools.islice(dict.fromkeys(_places(data)), MOST_PLACES):
        found = max(found, _size_at(data, place), key=lambda size: size[0] * size[1])
    return found


def _places(data: bytes) -> Iterator[int]:
    """Where the data of items and of chunks begin."""
    bases = [match.end() for match in itertools.islice(_DATA_BOX.finditer(data), _MOST_BOXES)]
    for match in itertools.islice(_BOXES.finditer(data), _MOST_BOXES):
        start = match.end()
        if match[0] == b"av1C":
            yield start + _CONFIGURATION_BYTES
        elif match[0] == b"iloc":
            for place in itertools.islice(_of_items(data, start), MOST_PLACES):
                yield place
                yield from (base + place for base in bases)
        else:
            width = 4 if match[0] == b"stco" else 8
            count = int.from_bytes(data[start + 4 : start + 8], "big")
            for number in range(min(count, MOST_PLACES)):
                yield int.from_bytes(data[start + 8 + number * width : start + 8 + (number + 1) * width], "big")


def _of_items(data: bytes, place: int) -> Iterator[int]:
    """Where the first extent of each item begins, by a box of locations."""
    if place + 8 > len(data):
        return
    version, sizes = data[place], struct.unpack_from(">H", data, place + 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2
    count = int.from_bytes(data[place + 6 : place + 6 + wide], "big")
    place += 6 + wide
    index_size = index_size if version else 0
    for _ in range(min(count, MOST_PLACES)):
        place += wide + (2 if version else 0) + 2
        base = int.from_bytes(data[place : place + base_size], "big")
        place += base_size
        extents = int.from_bytes(data[place : place + 2], "big")
        place += 2 + index_size
        yield base + int.from_bytes(data[place : place + offset_size], "big")
        place += extents * (index_size + offset_size + length_size) - index_size
        if place >= len(data):
            return


def _size_at(data: bytes, place: int) -> tuple[int, int]:
    """Width and height by the first sequence header of the units that begin here."""
    for _ in range(_MOST_UNITS):
        if place >= len(data):
            break
        head = data[place]
        kind, extended, sized = head >> 3 & 15, head >> 2 & 1, head >> 1 & 1
        place += 1 + extended
        length, bytes_of_length = _number(data, place) if sized else (len(data) - place, 0)
        place += bytes_of_length
        if head & 0x81:  # these bits are always 0
            break
        if kind == _SEQUENCE_HEADER:
            return _size_in(data[place : place + min(length, 512)])
        place += length
    return 0, 0


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, and how many bytes it takes."""
    value = 0
    for count, byte in enumerate(data[place : place + 8]):
        value |= (byte & 0x7F) << 7 * count
        if not byte & 0x80:
            return value, count + 1
    return value, 8


def _size_in(body: bytes) -> tuple[int, int]:
    """Width and height in a sequence header."""
    bits = _Bits(body)
    bits.take(4)
    if bits.take(1):  # a still picture with little said
        bits.take(5)
    else:
        _pass_over_operation(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(across) + 1, bits.take(down) + 1


def _pass_over_operation(bits: _Bits) -> None:
    """What a sequence header says of time and of operating points."""
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


class _Bits:
    """Takes numbers of bits, the highest first; zeros after the end."""

    def __init__(self, data: bytes) -> None:
        self._data = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """The next so many bits as a number."""
        self._left -= count
        found = self._data >> self._left if self._left >= 0 else self._data << -self._left
        return found & ((1 << count) - 1)
