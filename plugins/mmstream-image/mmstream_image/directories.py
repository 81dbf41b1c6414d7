"""Directories of tags, as TIFF and EXIF have them, are looked at before Pillow reads them.

A few bytes of a directory may say that thousands of tags share the same megabytes. Pillow copies them for each tag, and
unpacks numbers to objects of Python. It reads directories in many places (TIFF, EXIF in five formats, the index of
MPO), some of them while it opens a file, so the look is taken where all of them pass.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Iterator
from typing import IO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mmstream_image.limits import LimitError

MOST_TAGS = 65_535
"""Of a directory; only that of a BigTIFF could have more."""
MOST_NUMBERS = 1 << 18
"""Of all the tags of a directory together; a palette has 196,608."""
MOST_PIECES = 1 << 16
"""Strips or tiles of a TIFF."""
_OFFSETS = frozenset((273, 324))
_BYTES = frozenset((1, 2, 7))
"""Types that Pillow keeps as they are."""
_FRACTIONS = frozenset((5, 10))
_FRACTION_COST = 16
"""A fraction takes so many times the memory of a number."""
_load = ImageFileDirectory_v2.load
_thread = threading.local()


@contextlib.contextmanager
def checked() -> Iterator[None]:
    """While the block runs, no directory is read in this thread that declares more than its file holds."""
    before = getattr(_thread, "checks", False)
    _thread.checks = True
    try:
        yield
    finally:
        _thread.checks = before


def check(directory: ImageFileDirectory_v2, file: IO[bytes]) -> None:
    """A directory that begins here in a file declares no more than the file holds; the file stays where it is.

    Raises:
        LimitError: it does.
    """
    large, order = directory._bigtiff, directory._endian
    start = file.tell()
    end = file.seek(0, 2)
    file.seek(start)
    head = file.read(8 if large else 2)
    count = int.from_bytes(head, "little" if order == "<" else "big")
    if count > MOST_TAGS:
        raise LimitError(f"a directory of {count:,} tags is larger than the limit of {MOST_TAGS:,}")
    entry = struct.Struct(order + ("HHQQ" if large else "HHLL"))
    table = file.read(count * entry.size)
    file.seek(start)
    inside = 8 if large else 4
    total = numbers = 0
    for tag, kind, length, offset in entry.iter_unpack(table[: len(table) // entry.size * entry.size]):
        if kind not in directory._load_dispatch:
            continue
        size = length * directory._load_dispatch[kind][0]
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
            f"the tags of a directory declare {total:,} bytes, more than the {end:,} that it has: they share"
        )
    if numbers > MOST_NUMBERS:
        raise LimitError(f"the tags of a directory hold {numbers:,} numbers, more than the limit of {MOST_NUMBERS:,}")


def _load_checked(self: ImageFileDirectory_v2, fp: IO[bytes]) -> None:
    if getattr(_thread, "checks", False):
        check(self, fp)
    _load(self, fp)


ImageFileDirectory_v2.load = _load_checked  # type: ignore[method-assign]  # see above; elsewhere it does what it did
