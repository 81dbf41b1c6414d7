"""Check directories of tags, as in TIFF and EXIF, before Pillow reads them.

A small directory may declare thousands of tags that share the same megabytes. Pillow copies these megabytes for each
tag, and converts numbers to Python objects. It reads directories in many places (TIFF, EXIF in five formats, the index
of MPO), some of them while it opens a file, so the check replaces the one method that reads them all.
"""

from __future__ import annotations

import struct
import threading
from typing import IO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mmstream_image.limits import LimitError

MOST_TAGS = 65_535
"""The most tags of a directory; only a directory of a BigTIFF could have more."""
MOST_NUMBERS = 1 << 18
"""The most numbers of all the tags of a directory together; a palette has 196,608."""
MOST_PIECES = 1 << 16
"""The most strips or tiles of a TIFF."""
_OFFSETS = frozenset((273, 324))
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a value of each type that Pillow reads; it passes over tags of other types."""
_BYTES = frozenset((1, 2, 7))
"""Types that Pillow keeps as they are."""
_FRACTIONS = frozenset((5, 10))
_FRACTION_COST = 16
"""How many times as much memory a fraction takes as a number."""
_load = ImageFileDirectory_v2.load
_thread = threading.local()


class checked:  # noqa: N801 - it is used like a function; a generator would cost more for each picture
    """Refuse directories that declare more than their file holds, in this thread, while the block runs."""

    def __enter__(self) -> None:
        _thread.checks = True

    def __exit__(self, *about_an_error: object) -> None:
        _thread.checks = False


def check(directory: ImageFileDirectory_v2, file: IO[bytes]) -> None:
    """Check that the directory at a file's position declares no more than the file holds; the position is restored.

    Raises:
        LimitError: it declares more.
    """
    large = directory._bigtiff  # no public attribute tells that offsets have eight bytes
    order = "<" if directory.prefix == b"II" else ">"
    start = file.tell()
    end = file.seek(0, 2)
    file.seek(start)
    head = file.read(8 if large else 2)
    count = int.from_bytes(head, "little" if order == "<" else "big")
    if count > MOST_TAGS:
        raise LimitError(f"a TIFF directory has {count:,} tags, more than the limit of {MOST_TAGS:,}")
    entry = struct.Struct(order + ("HHQQ" if large else "HHLL"))
    table = file.read(count * entry.size)
    file.seek(start)
    inside = 8 if large else 4
    total = numbers = 0
    for tag, kind, length, offset in entry.iter_unpack(table[: len(table) // entry.size * entry.size]):
        if kind not in _SIZES:
            continue
        size = length * _SIZES[kind]
        if size <= inside:
            continue
        if offset + size > end:
            break  # Pillow reads no further
        total += size
        if tag in _OFFSETS and length > MOST_PIECES:
            raise LimitError(f"the picture is in {length:,} pieces, more than the limit of {MOST_PIECES:,}")
        if kind not in _BYTES:
            numbers += length * (_FRACTION_COST if kind in _FRACTIONS else 1)
    if total > end:
        raise LimitError(
            f"the tags of a TIFF directory declare {total:,} bytes, more than the {end:,} of the file: they overlap"
        )
    if numbers > MOST_NUMBERS:
        raise LimitError(
            f"the tags of a TIFF directory hold {numbers:,} numbers, more than the limit of {MOST_NUMBERS:,}"
        )


def _load_checked(self: ImageFileDirectory_v2, fp: IO[bytes]) -> None:
    if getattr(_thread, "checks", False):
        check(self, fp)
    _load(self, fp)


ImageFileDirectory_v2.load = _load_checked  # type: ignore[method-assign]  # unchanged outside of `checked`
