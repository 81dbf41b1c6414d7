"""Estimate how much work a JPEG takes, from its segments, before Pillow opens it."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from mmstream_image.limits import LimitError

MOST_SEGMENTS = 4096
"""The most segments before the picture begins; comments and metadata have at most 64 KiB each."""
MOST_EXIF_SEGMENTS = 256
MOST_SCANS = 100
"""The most scans: each goes over the whole picture, however short it is. Ten are usual."""
MOST_PADDING_BYTES = 1 << 20
"""The most padding between its segments."""
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_ALONE = frozenset((0x01, *range(0xD0, 0xDA)))
"""Markers without a length."""
_NO_MARKERS = frozenset((0x00, 0xFF, *range(0xD0, 0xD8)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_IN_ONE_SCAN = frozenset((0xC0, 0xC1, 0xC3))
_SIDES = struct.Struct(">HH")


class Jpeg(NamedTuple):
    """What the segments of a JPEG say.

    Attributes:
        whole: whether all of it is held while it is decoded, because it has several scans, or may have.
        size: width and height.
    """

    whole: bool = False
    size: tuple[int, int] = (0, 0)


def check(data: bytes, start: int) -> Jpeg:
    """Check that the JPEG that begins at `start` does not have too many segments and scans.

    Raises:
        LimitError: it has too many.
    """
    place, segments, exif, padding, in_one, components, size = start + 2, 0, 0, 0, False, 0, (0, 0)
    while place + 4 <= len(data):
        marker = data[place + 1]
        if data[place] != 0xFF or marker in _NO_MARKERS:
            match = _MARKER.search(data, place)
            if not match:
                break
            padding += match.start() - place
            place, marker = match.start(), match[1][0]
        if marker in _ALONE:
            place += 2
            padding += 2
            continue
        length = data[place + 2] << 8 | data[place + 3] or 2
        segments += 1
        if segments > MOST_SEGMENTS or padding > MOST_PADDING_BYTES:
            raise LimitError(
                f"the JPEG has more than {MOST_SEGMENTS:,} segments, or more than {MOST_PADDING_BYTES:,} bytes of "
                "padding between segments"
            )
        if marker == 0xE1 and data.startswith(b"Exif\0\0", place + 4):
            exif += 1
            if exif > MOST_EXIF_SEGMENTS:
                raise LimitError(f"the JPEG has more than {MOST_EXIF_SEGMENTS:,} segments of EXIF")
        elif marker in _FRAMES:
            if place + 10 > len(data):
                break
            in_one, components = marker in _IN_ONE_SCAN, data[place + 9]
            height, width = _SIDES.unpack_from(data, place + 5)
            size = max(size, (width, height), key=_pixels_of)
        elif marker == 0xDA:
            if in_one and data[place + 4 : place + 5] == bytes((components,)):
                return Jpeg(False, size)
            _check_scans(data, place + 2 + length, segments)
            return Jpeg(True, size)
        place += 2 + length
    return Jpeg(False, size)


def _check_scans(data: bytes, place: int, segments: int) -> None:
    """Check that a JPEG does not have too many scans, from the data of the first one on.

    Raises:
        LimitError: it has too many.
    """
    scans = 1
    while match := _MARKER.search(data, place):
        marker, place = match[1][0], match.end()
        if marker == 0xD9:
            break
        if marker in _ALONE:
            continue
        scans += marker == 0xDA
        segments += 1
        if scans > MOST_SCANS or segments > MOST_SEGMENTS:
            raise LimitError(f"the JPEG has more than {MOST_SCANS} scans, or more than {MOST_SEGMENTS:,} segments")
        place += max(int.from_bytes(data[place : place + 2], "big"), 2)


def _pixels_of(size: tuple[int, int]) -> int:
    return size[0] * size[1]
