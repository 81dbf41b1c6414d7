"""Estimate the memory for decoding an AVIF or HEIC from its frames, which are scaled only after decoding."""

from __future__ import annotations

from mmstream_image import av1, hevc
from mmstream_image.limits import LimitError

_EITHER = (b"mif1", b"msf1")
_AVIF = frozenset((*_EITHER, b"avif", b"avis"))
_HEIC = frozenset((*_EITHER, b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_FRAME_BYTES = 10
"""Bytes per pixel of an AV1 or HEVC frame of up to 12 bits, with its opacity and what the decoder keeps."""
_CANVAS_BYTES = 6
"""Bytes per pixel of the canvas on which frames are put together."""
MOST_TIMES_TAKEN = 2
"""How many times as large as the file the items of a HEIC may be together."""


def is_heif(data: bytes) -> bool:
    """Whether a file begins like an AVIF or HEIC."""
    return data[4:8] == b"ftyp" and data[8:12] in _AVIF | _HEIC


def needs(data: bytes) -> tuple[tuple[int, int], int, int, tuple[str, ...]]:
    """The first fields of `headers.Header`: the size of the largest picture, 0, further bytes, and the formats.

    Raises:
        LimitError: items share their bytes.
    """
    brand = data[8:12]
    frame = canvas = (0, 0)
    formats: tuple[str, ...] = ()
    if brand in _AVIF:
        frame, formats = av1.largest(data), ("AVIF",)
    if brand in _HEIC:
        pictures = hevc.largest(data)
        if pictures.taken > MOST_TIMES_TAKEN * len(data):
            raise LimitError(
                f"the items of the HEIC share bytes and add up to {pictures.taken:,} bytes; the limit is "
                f"{MOST_TIMES_TAKEN} times the size of the file"
            )
        frame, canvas, formats = max(frame, pictures.frame, key=_area), pictures.canvas, (*formats, "HEIF")
    more = _area(frame) * _FRAME_BYTES + _area(canvas) * _CANVAS_BYTES
    return max(frame, canvas, key=_area), 0, more, formats


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]
