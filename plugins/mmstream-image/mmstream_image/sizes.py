"""How large a picture is, and whether decoding it takes little memory."""

from __future__ import annotations

from PIL import Image as Pillow

from mmstream.runtime.budget import DECODING
from mmstream_image import directories, headers
from mmstream_image.limits import CountedFile

_TAKE_LITTLE = frozenset(("JPEG", "PNG"))
"""Formats that take little memory for small pictures."""
_LITTLE_PIXELS, _LITTLE_BYTES = 1 << 18, 4 << 20


def size_of(value: bytes) -> tuple[int, int]:
    """Width and height of the picture in a file's bytes."""
    header = headers.read(value, 0)
    with (
        directories.checked(),
        DECODING.holding(header.held),
        Pillow.open(CountedFile(value), formats=header.formats or None) as picture,
    ):
        return picture.size


def takes_little(picture: Pillow.Image, besides: int) -> bool:
    """Whether decoding takes so little memory that none need be reserved, as for most pictures."""
    if picture.format not in _TAKE_LITTLE or besides > _LITTLE_BYTES:
        return False
    width, height = picture.size
    return width * height <= _LITTLE_PIXELS
