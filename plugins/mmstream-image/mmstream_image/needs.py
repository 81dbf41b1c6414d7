"""Estimate how much memory decoding a picture takes, before it is decoded."""

from __future__ import annotations

import math
from typing import Any

from PIL import Image as Pillow
from PIL.TiffImagePlugin import COMPRESSION_INFO

from mmstream_image.colours import PIECE_PIXELS
from mmstream_image.limits import MOST_SLOW_PIXELS, LimitError

_MODE_BYTES = {"1": 1, "L": 1, "P": 1}
"""Bytes per pixel in Pillow's memory, by mode; 2 in all modes of 16 bits, 4 in all others."""
_LINE_BYTES = 16
"""Bytes per line, for its pointer, and per pixel of a line while it is unpacked."""
_PIECE_BYTES = 48
"""Bytes per pixel of a piece while it is converted."""
_BESIDES = {"GIF": 2, "JPEG2000": 16, "AVIF": 8, "HEIF": 8, "WEBP": 20}
"""Further bytes per pixel, by format; decoders that first make a copy of their own need many."""
_AS_IT_COMES = frozenset(("JPEG", "MPO", "PNG", "TIFF", "BMP", "DIB", "PPM"))
"""Formats whose decoders need no second copy."""
_DRAWN_BYTES = 24
"""Bytes per pixel if frames are drawn over each other."""
_PLAIN_BYTES = 12
_QUICK = frozenset(("SGI16",))
"""Decoders in Python that process a whole plane at a time."""
_SLOW_BYTES = 24
"""Bytes per pixel if a decoder in Python collects the pixels."""
_WINDOW_BYTES = 128 << 20
"""Bytes for codecs of a TIFF with large windows, or with a JPEG of several scans."""
_WIDE_CODECS = frozenset(("jpeg", "tiff_jpeg", "lzma", "zstd", "webp"))
_COEFFICIENT_BYTES = 2
_BITS, _COMPRESSION, _COLOURS, _ORIENTATION, _SAMPLES, _ROWS = 258, 259, 262, 274, 277, 278
_TILE_WIDTH, _TILE_LENGTH, _XMP = 322, 323, 700
_YCBCR = 6
_MOST_TIMES_OVER = 8
"""How many times the tiles of a picture may cover it, plane by plane."""


def of(picture: Pillow.Image, whole: tuple[int, int] | None = None) -> int:
    """Bytes of memory needed to decode a picture and convert it to RGB.

    Args:
        picture: opened and not decoded yet.
        whole: width and height, before scaling, of a JPEG that is held as a whole while it is decoded.

    Raises:
        LimitError: it is decoded in Python and has too many pixels, or its tiles cover it too often.
    """
    pixels = picture.width * picture.height
    stored = pixels * bytes_of(picture.mode) + (picture.width + picture.height) * _LINE_BYTES
    total = stored + min(pixels, PIECE_PIXELS) * _PIECE_BYTES + _of_tiles(picture, pixels)
    if picture.format in _BESIDES:
        total += pixels * _BESIDES[picture.format]
    elif picture.format not in _AS_IT_COMES:
        total += stored
    if whole:
        total += _of_coefficients(picture, whole)
    if picture.format == "TIFF":
        total += _of_strip(picture, stored)
    return total


def of_drawn(picture: Pillow.Image, size: tuple[int, int]) -> int:
    """Bytes that drawing frames over each other takes, up to one of this width and height."""
    pixels = size[0] * size[1]
    return pixels * (_DRAWN_BYTES + bytes_of(picture.mode)) + min(pixels, PIECE_PIXELS) * _PIECE_BYTES


def of_plain(picture: Pillow.Image) -> int:
    """Bytes that mapping all samples of a picture through a table takes."""
    return picture.width * picture.height * _PLAIN_BYTES


def bytes_of(mode: str) -> int:
    """Bytes per pixel of a mode in Pillow's memory.

    >>> bytes_of("L"), bytes_of("I;16B"), bytes_of("LA")
    (1, 2, 4)
    """
    return 2 if mode.startswith("I;16") else _MODE_BYTES.get(mode, 4)


def _of_tiles(picture: Pillow.Image, pixels: int) -> int:
    """Further bytes that decoders in Python take."""
    tiles: list[Any] = getattr(picture, "tile", [])
    painted = sum(max(right - left, 0) * max(bottom - top, 0) for _, (left, top, right, bottom), *_ in tiles)
    if painted > _MOST_TIMES_OVER * pixels:
        raise LimitError(f"the pieces of the picture cover it too often; the limit is {_MOST_TIMES_OVER} times")
    slow = sorted({codec for codec, *_ in tiles if codec in Pillow.DECODERS} - _QUICK)
    if not slow:
        return 0
    if pixels > MOST_SLOW_PIXELS:
        raise LimitError(
            f"{picture.width} x {picture.height} pixels are more than the limit of {MOST_SLOW_PIXELS:,} for a "
            f"picture in this encoding ({slow[0]})"
        )
    return pixels * _SLOW_BYTES + (picture.width << 9 if "bmp_rle" in slow else 0)  # it may skip 255 rows at once


def _of_coefficients(picture: Any, size: tuple[int, int]) -> int:
    """Further bytes for a JPEG of several scans, of which all coefficients are held."""
    layers = picture.layer[-picture.layers :]
    across, down = (max((layer[side] for layer in layers), default=1) or 1 for side in (1, 2))
    width, height = (math.ceil(side / 8 / most) * 8 * most for side, most in zip(size, (across, down), strict=True))
    shares = sum((layer[1] or 1) * (layer[2] or 1) / across / down for layer in layers)
    return int(width * height * shares * _COEFFICIENT_BYTES)


def _of_strip(picture: Any, stored: int) -> int:
    """Further bytes for a TIFF: a strip or tile is unpacked before it is stored, and Pillow rotates the whole."""
    tags = picture.tag_v2
    bits = tags.get(_BITS, (8,))
    samples = max(len(bits), int(tags.get(_SAMPLES, 1)))
    width, rows = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH)
    if not isinstance(width, int) or not isinstance(rows, int):
        stated = tags.get(_ROWS, picture.height)
        width, rows = picture.width, min(stated if isinstance(stated, int) else picture.height, picture.height)
    unpacked = width * rows * samples * max(bits) // 8
    drawn = width * rows * 4 if tags.get(_COLOURS) == _YCBCR else 0  # libtiff itself makes RGB of it
    turned = stored if tags.get(_ORIENTATION, 1) != 1 or _XMP in tags else 0
    codec = COMPRESSION_INFO[tags.get(_COMPRESSION, 1)]
    return turned + (0 if codec == "raw" else unpacked + drawn + (_WINDOW_BYTES if codec in _WIDE_CODECS else 0))
