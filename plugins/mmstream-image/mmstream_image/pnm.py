"""Decode binary PGM and PPM whose largest sample is not 255; Pillow decodes those pixel by pixel in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image as Pillow

_CODEC = "ppm"


def is_meant(picture: Any) -> bool:
    """Whether an opened picture is one that this module decodes."""
    return picture.format == "PPM" and [tile[0] for tile in picture.tile] == [_CODEC]


def decoded(picture: Any, data: bytes) -> Pillow.Image:
    """Decode the picture to 8-bit L or RGB, with the same levels as Pillow's.

    Args:
        picture: as it was opened.
        data: of the whole file.

    Raises:
        ValueError: it is cut off.
    """
    _, _, offset, (_, largest) = picture.tile[0]
    channels = len(picture.getbands())
    kind = np.dtype(np.uint8 if largest < 256 else ">u2")
    count = picture.width * picture.height * channels
    if len(data) - offset < count * kind.itemsize:
        raise ValueError("image file is truncated")
    samples = np.frombuffer(data, kind, count, offset)
    deepest, shift = (65535, 8) if picture.mode == "I" else (255, 0)
    levels = np.array(
        [min(deepest, round(level / largest * deepest)) >> shift for level in range(1 << 8 * kind.itemsize)]
    )
    shape = (picture.height, picture.width, channels) if channels > 1 else (picture.height, picture.width)
    return Pillow.fromarray(levels.astype(np.uint8)[samples].reshape(shape))
