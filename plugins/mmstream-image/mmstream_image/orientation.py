"""The EXIF orientation of a picture."""

from __future__ import annotations

import struct

from PIL import Image as Pillow

_ORIENTATION_TAG = 0x0112
ORIENTATIONS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
"""The operation that makes a picture upright, by EXIF orientation."""
LYING = (5, 6, 7, 8)
"""Orientations that swap width and height."""


def orientation_of(picture: Pillow.Image) -> int:
    """The EXIF orientation, 1 (upright) where the metadata has none or is damaged."""
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except (SyntaxError, struct.error, TypeError, ValueError, KeyError, IndexError, OSError):
        return 1
