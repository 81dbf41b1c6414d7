"""Convert pictures of any mode to 8-bit RGB at another size, piece by piece if they are large.

Pillow shrinks a large picture in two steps: first the mean of each cell of several pixels, then a triangle filter. The
first step is done here for one piece of the picture at a time, right after the piece has become RGB, so that there is
no second copy of the whole. The pixels are the same, to the last bit.

Source: Pillow's `Image.resize` with `reducing_gap`, and `Image.reduce`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image as Pillow

PIECE_PIXELS = 1 << 20
"""The most pixels that are converted at once."""
_REDUCING_GAP = 2.0
_HALF_SUPPORT = 0.5
"""How far the triangle filter reaches beyond half a pixel, in pixels of the result."""
_BITS_TAG = 0x0102
_DEEPEST = 65535
Box = tuple[int, int, int, int]
FloatBox = tuple[float, float, float, float]
Colours = tuple[int, int, int]
Convert = Callable[[Pillow.Image], Pillow.Image]


def resized(picture: Pillow.Image, target: tuple[int, int], box: FloatBox, background: Colours) -> Pillow.Image:
    """Convert a box of a loaded picture to 8-bit RGB at another size.

    Args:
        picture: of any mode.
        target: width and height.
        box: left, top, right and bottom, in pixels.
        background: the colour under transparent parts.
    """
    bilinear = Pillow.Resampling.BILINEAR
    convert = _conversion(picture, background)
    if convert is None:
        return picture.resize(target, bilinear, box=box, reducing_gap=_REDUCING_GAP)
    if _area(picture.size) <= PIECE_PIXELS:
        return convert(picture).resize(target, bilinear, box=box, reducing_gap=_REDUCING_GAP)
    across, down = (int((box[side + 2] - box[side]) / target[side] / _REDUCING_GAP) or 1 for side in (0, 1))
    inner = _reach(picture.size, target, box)
    if across == down == 1:
        small = _converted(picture, inner, convert)
    else:
        small = _reduced(picture, (across, down), inner, convert)
    left, top, right, bottom = box
    shifted = (
        (left - inner[0]) / across,
        (top - inner[1]) / down,
        (right - inner[0]) / across,
        (bottom - inner[1]) / down,
    )
    return small.resize(target, bilinear, box=shifted)


def _reach(size: tuple[int, int], target: tuple[int, int], box: FloatBox) -> Box:
    """The part of a picture that the filter reads to resize a box of it."""
    x, y = (_HALF_SUPPORT * (box[side + 2] - box[side]) / target[side] for side in (0, 1))
    return (
        max(0, int(box[0] - x)),
        max(0, int(box[1] - y)),
        min(size[0], math.ceil(box[2] + x)),
        min(size[1], math.ceil(box[3] + y)),
    )


def _reduced(picture: Pillow.Image, factor: tuple[int, int], box: Box, convert: Convert) -> Pillow.Image:
    """The mean of each cell of `factor` pixels across and down, beginning at the corner of a box."""
    across, down = factor
    left, top, right, bottom = box
    small = Pillow.new("RGB", (math.ceil((right - left) / across), math.ceil((bottom - top) / down)))
    width = max(min(right - left, PIECE_PIXELS // down) // across * across, across)
    height = max(PIECE_PIXELS // width // down * down, down)
    for y in range(top, bottom, height):
        for x in range(left, right, width):
            piece = _converted(picture, (x, y, min(x + width, right), min(y + height, bottom)), convert)
            small.paste(piece.reduce(factor), ((x - left) // across, (y - top) // down))
    return small


def _converted(picture: Pillow.Image, box: Box, convert: Convert) -> Pillow.Image:
    """Convert a box of a picture piece by piece."""
    left, top, right, bottom = box
    if _area((right - left, bottom - top)) <= PIECE_PIXELS:
        return convert(picture.crop(box))
    whole = Pillow.new("RGB", (right - left, bottom - top))
    for piece in _pieces(box):
        whole.paste(convert(picture.crop(piece)), (piece[0] - left, piece[1] - top))
    return whole


def _pieces(box: Box) -> Iterator[Box]:
    """Divide a box into boxes of at most `PIECE_PIXELS`."""
    left, top, right, bottom = box
    width = min(right - left, PIECE_PIXELS)
    height = max(PIECE_PIXELS // width, 1)
    for y in range(top, bottom, height):
        for x in range(left, right, width):
            yield x, y, min(x + width, right), min(y + height, bottom)


def _conversion(picture: Pillow.Image, background: Colours) -> Convert | None:
    """The conversion of any part of a loaded picture to 8-bit RGB; None if the picture is 8-bit RGB already."""
    mode = picture.mode
    if mode == "RGB" and not picture.has_transparency_data:
        return None
    if mode.startswith("I;16"):
        return functools.partial(_shifted, shift=_bits(picture) - 8)
    if mode == "I":
        return _conversion_of_integers(picture)
    if mode == "F":
        least, largest = _range(picture, _finite)
        return functools.partial(_spread, least=least, span=(largest - least) or 1.0, samples_of=_finite)
    if picture.has_transparency_data:
        return functools.partial(_laid_over, background=background)
    return _plain


def _conversion_of_integers(picture: Pillow.Image) -> Convert:
    largest = _DEEPEST if picture.format == "PPM" else _range(picture, np.asarray)[1]  # Pillow scales those to 16 bits
    if largest <= 0xFF:
        return functools.partial(_shifted, shift=0)
    if largest <= _DEEPEST:
        return functools.partial(_shifted, shift=8)
    return functools.partial(_spread, least=0.0, span=float(largest), samples_of=_positive)


def _range(picture: Pillow.Image, samples_of: Callable[[Pillow.Image], Any]) -> tuple[Any, Any]:
    """The least and the largest sample."""
    least, largest = math.inf, -math.inf
    for box in _pieces((0, 0, *picture.size)):
        samples = samples_of(picture.crop(box))
        least, largest = min(least, samples.min()), max(largest, samples.max())
    return least, largest


def _finite(picture: Pillow.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(picture).astype(np.float64), posinf=0, neginf=0)


def _positive(picture: Pillow.Image) -> np.ndarray:
    return np.maximum(np.asarray(picture), 0)


def _shifted(picture: Pillow.Image, shift: int) -> Pillow.Image:
    """Drop the lowest bits of integer samples."""
    samples = np.asarray(picture)
    levels = np.minimum(np.maximum(samples, 0) >> shift, 0xFF).astype(np.uint8)
    return Pillow.fromarray(levels).convert("RGB")


def _spread(
    picture: Pillow.Image, least: float, span: float, samples_of: Callable[[Pillow.Image], np.ndarray]
) -> Pillow.Image:
    """Spread samples over the levels from black to white."""
    levels = np.round((samples_of(picture) - least) / span * 255).astype(np.uint8)
    return Pillow.fromarray(levels).convert("RGB")


def _laid_over(picture: Pillow.Image, background: Colours) -> Pillow.Image:
    over = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    under = Pillow.new("RGBA", over.size, (*background, 255))
    return Pillow.alpha_composite(under, over).convert("RGB")


def _plain(picture: Pillow.Image) -> Pillow.Image:
    return picture.convert("RGB")


def _bits(picture: Pillow.Image) -> int:
    """Bits per sample of a picture with more than 8: as a TIFF says, otherwise 16."""
    tags: Mapping[int, Any] = getattr(picture, "tag_v2", {})
    bits = (tags.get(_BITS_TAG) or (16,))[0]
    return bits if 8 < bits < 16 else 16


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]
