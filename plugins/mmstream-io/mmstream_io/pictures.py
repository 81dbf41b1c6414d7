"""Recognise files that hold pictures, by their suffix or else their first bytes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mmstream.storage import disk, files
from mmstream_io.inputs import PICTURES

SUFFIXES = tuple(f".{suffix}" for suffix in PICTURES)
_RAW = (".3fr", ".arw", ".cr2", ".dng", ".erf", ".kdc", ".nef", ".nrw", ".orf", ".pef", ".raw", ".rw2", ".srw")
"""Suffixes of cameras' raw files, most of which begin like a TIFF and hold a small picture."""
_HEAD_BYTES = 32
_BEGINNINGS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"icns", b"qoif"),
    *(b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "),
)
_BRANDS = frozenset((b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_BITMAP_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))
"""Sizes that the header of a BMP may have."""


def holds_picture(path: str) -> bool:
    """Whether a file holds a picture.

    Of files with another suffix, only plain, local ones are opened; a link is judged by the name of its target.

    Raises:
        OSError: it cannot be read, though the user has permission.
    """
    if path.lower().endswith(SUFFIXES):
        return True
    if files.is_remote(path) or path.lower().endswith(_RAW):
        return False
    if Path(path).is_symlink():
        return os.path.realpath(path).lower().endswith(SUFFIXES)
    return is_picture(_head(path))


def is_picture(head: bytes) -> bool:
    r"""Whether a file with these first bytes is a picture of a common format.

    >>> is_picture(b"\x89PNG\r\n\x1a\n"), is_picture(b"a text")
    (True, False)
    """
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    if head.startswith(b"BM"):
        return head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS
    return head.startswith(_BEGINNINGS) or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)


def _head(path: str) -> bytes:
    """The first bytes of a plain file; b"" if it is not one, is gone, or may not be read."""

    def read() -> bytes:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return os.read(descriptor, _HEAD_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
        finally:
            os.close(descriptor)

    try:
        if not stat.S_ISREG(disk.patiently(Path(path).lstat).st_mode):  # opening a device may have effects
            return b""
        return disk.patiently(read)
    except (*disk.NOT_THERE, PermissionError):
        return b""
