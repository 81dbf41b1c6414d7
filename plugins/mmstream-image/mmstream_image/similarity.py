"""Finding near-equal pictures: resized, compressed or brightened copies, and other colours of one drawing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image as Pillow

from mmstream.interfaces import SimilarityHash

_SIDE = 16
_LEAST_CONTRAST = 2.0
"""Standard deviation of the luminance, of 255, below which a picture counts as blank."""
_LEAST_CORRELATION = 0.98
_BANDS = 24
_BITS = 20
"""Bits in each band."""
_SIGNS = np.random.RandomState(1).choice(np.array([-1, 1], np.float32), (_SIDE * _SIDE, _BANDS * _BITS))
"""The legacy generator, as its numbers are the same in every version of NumPy."""


class PictureHash(SimilarityHash):
    """The luminance of 16 x 16 pixels, less its mean and scaled to -127 to 127; near-equal if it correlates by 0.98.

    Only what the network sees counts: the picture as the field has fitted it to its size. Neither brightness and
    contrast nor colours count. On the emoji, products, exercises and shapes of mmstream's tests, this separates copies
    from other pictures better than perceptual hashes do (pHash and dHash, of 64 and 256 bits): on drawings with plain
    backgrounds, most bits of these are noise.

    The bands are signs of random projections; sums of whole numbers are exact, and so the same on every machine.
    Source: M. Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002.
    """

    size = _SIDE * _SIDE

    def hash(self, decoded: Mapping[str, Any]) -> bytes | None:
        """The hash of `pixels`, uint8[H, W, 3]; None if they hardly differ from each other."""
        grey = Pillow.fromarray(decoded["pixels"]).convert("L").convert("F")
        levels = np.asarray(grey.resize((_SIDE, _SIDE), Pillow.Resampling.BOX), np.float64).ravel()
        levels = levels - levels.sum() / levels.size
        if np.square(levels).sum() < _LEAST_CONTRAST**2 * levels.size:
            return None
        return np.rint(levels * (127 / np.abs(levels).max())).astype(np.int8).tobytes()

    def bands(self, hashes: np.ndarray) -> np.ndarray:
        """24 bands of 20 signs: uint64[N, 24]."""
        signs = (_levels(hashes) @ _SIGNS > 0).reshape(len(hashes), _BANDS, _BITS)
        return (signs @ np.exp2(np.arange(_BITS, dtype=np.float32))).astype(np.uint64)

    def are_near(self, some: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Whether the luminances correlate: bool[N]."""
        left, right = _levels(some), _levels(others)
        product, *squares = (
            np.einsum("nk,nk->n", *pair).astype(np.float64) for pair in ((left, right), (left, left), (right, right))
        )
        return product >= _LEAST_CORRELATION * np.sqrt(squares[0] * squares[1])


def _levels(hashes: np.ndarray) -> np.ndarray:
    """float32[N, K], all whole numbers."""
    return np.ascontiguousarray(hashes).view(np.int8).astype(np.float32)
