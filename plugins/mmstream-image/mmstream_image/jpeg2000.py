"""Estimate the memory that decoding a JPEG 2000 codestream takes.

OpenJPEG keeps tables for each tile, each precinct and each block of a tile, which may be as small as a pixel, and
samples of 32 bits.

Source: ISO/IEC 15444-1, annex A (markers); annex B (tiles, resolutions, precincts, code-blocks).
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator, Sequence

from mmstream_image.limits import LimitError

MOST_COMPONENTS = 4
MOST_STREAMS = 16
"""The most codestreams in one file; Pillow reads one of them."""
MOST_SEGMENTS = 1 << 17
"""The most segments in the headers of all tile-parts together."""
_BEGIN = re.compile(rb"\xff\x4f\xff\x51")
_TILE, _STYLE, _COMPONENT_STYLE, _DATA = 0xFF90, 0xFF52, 0xFF53, 0xFF93
_TILE_BYTES = 8 << 10
"""Bytes that OpenJPEG keeps for each tile; the next constant: for each component of each tile."""
_TILE_COMPONENT_BYTES = 2 << 10
_PRECINCT_BYTES = 512
_BLOCK_BYTES = 512
_SAMPLE_BYTES = 7
"""Bytes per sample of a tile while it is decoded: the sample, a copy of it, and what Pillow makes of it."""


def needs(data: bytes) -> tuple[tuple[int, int], int, int]:
    """Estimate what decoding a codestream takes, alone or in a file.

    Returns:
        Width and height, bytes per pixel, and further bytes; zeros if there is no codestream.

    Raises:
        LimitError: its headers have too many segments, or its tables are too large to be counted.
    """
    starts = [match.start() for match in itertools.islice(_BEGIN.finditer(data), MOST_STREAMS + 1)]
    if len(starts) > MOST_STREAMS:
        raise LimitError(f"the JPEG 2000 file holds more than {MOST_STREAMS} pictures")
    streams = [_needs_from(data, start) for start in starts]
    size = max((size for size, _ in streams), key=lambda size: size[0] * size[1], default=(0, 0))
    return size, 6 if size[0] else 0, max((more for _, more in streams), default=0)


def _needs_from(data: bytes, start: int) -> tuple[tuple[int, int], int]:
    """Width and height of the codestream at `start`, and the further bytes that it takes; zeros if it is broken."""
    if len(data) < start + 44:
        return (0, 0), 0
    right, bottom, left, top, width, height = struct.unpack_from(">6I", data, start + 8)
    across, down, count = right - left, bottom - top, int.from_bytes(data[start + 40 : start + 42], "big")
    if min(across, down, width, height) <= 0:
        return (0, 0), 0  # Pillow says why not
    if count > MOST_COMPONENTS:
        raise LimitError(f"the JPEG 2000 file has {count:,} components, more than the limit of {MOST_COMPONENTS}")
    tiles = -(-right // width) * -(-bottom // height)
    one = min(width, across) * min(height, down)
    tables = _tables(data, start + 2, min(width, across), min(height, down))
    more = one * count * _SAMPLE_BYTES + tables * count
    return (across, down), more + tiles * (_TILE_BYTES + count * _TILE_COMPONENT_BYTES)


def _tables(data: bytes, place: int, width: int, height: int) -> int:
    """The most bytes that a tile's precincts and blocks take, for each component, whichever header applies."""
    most = 0
    for marker, body in _segments(data, place):
        if marker == _STYLE and len(body) >= 10:
            most = max(most, _of_style(body[0], body[5:], width, height))
        elif marker == _COMPONENT_STYLE and len(body) >= 7:
            most = max(most, _of_style(body[1], body[2:], width, height))
    return most


def _of_style(style: int, body: bytes, width: int, height: int) -> int:
    """Like `_tables`, by one header: levels, block sides, their style, wavelet, and precinct sides if it says so."""
    levels, block = body[0], (min(body[1] & 15, 8) + 2, min(body[2] & 15, 8) + 2)
    precincts: Sequence[int] = body[5 : 6 + levels] if style & 1 else b"\xff"
    total = 0
    for level in range(min(levels, 32) + 1):
        sides = precincts[min(level, len(precincts) - 1)] if precincts else 0xFF
        shift = min(levels, 32) - level
        across, down = -(-width >> shift) + 1, -(-height >> shift) + 1
        wide, high = sides & 15, sides >> 4
        inner = (min(block[0], max(wide - 1, 0)), min(block[1], max(high - 1, 0)))  # for three bands at half the size
        total += _PRECINCT_BYTES * ((across >> wide) + 1) * ((down >> high) + 1)
        total += _BLOCK_BYTES * ((across >> inner[0]) + 1) * ((down >> inner[1]) + 1)
    return total


def _segments(data: bytes, place: int) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of the main header and of those of the tile-parts."""
    count, ends = 0, len(data)
    while place + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, place)
        count += 1
        if count > MOST_SEGMENTS:
            raise LimitError(f"the JPEG 2000 file has more than {MOST_SEGMENTS:,} segments")
        if marker == _DATA:
            place = ends
            continue
        if marker < 0xFF00 or length < 2:
            return
        if marker == _TILE:
            part = int.from_bytes(data[place + 6 : place + 10], "big")
            ends = place + part if part else len(data)
        yield marker, data[place + 4 : place + 2 + length]
        place += 2 + length
