"""The shapes in pictures, as histograms of gradients: a feature that needs no training."""

from __future__ import annotations

import numpy as np

_SIDE = 32
"""Larger pictures are reduced to this height and width."""
_CELLS = 8
"""Cells along each side; each has a histogram."""
_DIRECTIONS = 8
_DARKEST = 1e-2
"""Added to the energy of a neighbourhood, so that faint noise is not amplified."""


def gradients(pixels: np.ndarray) -> np.ndarray:
    """Describe the shapes in pictures: the strengths of gradients by place and direction, normalised by contrast.

    Source: Dalal & Triggs, "Histograms of oriented gradients for human detection" (2005), with 8 signed directions.

    Args:
        pixels: uint8[N, H, W, C], N at least 1.

    Returns:
        float32[N, F], each row of length 1, or 0 for a picture without a gradient.
    """
    grey = _reduced(pixels.astype(np.float32).mean(-1), _SIDE, mean=True) / 255
    if min(grey.shape[1:]) < 2:  # a gradient needs two pixels
        return np.zeros((len(pixels), 1), np.float32)
    down, right = np.gradient(grey, axis=(1, 2))
    strength, turn = np.hypot(down, right), np.arctan2(down, right) / (2 * np.pi) * _DIRECTIONS
    lower = np.floor(turn)
    histograms = np.zeros((*grey.shape, _DIRECTIONS), np.float32)
    places = np.indices(grey.shape)
    for direction, share in ((lower, 1 - (turn - lower)), (lower + 1, turn - lower)):  # the two nearest differ
        histograms[(*places, direction.astype(int) % _DIRECTIONS)] = strength * share
    cells = _reduced(histograms, _CELLS, mean=False)
    rows, columns = cells.shape[1:3]
    padded = np.pad(np.square(cells).sum(3), ((0, 0), (1, 1), (1, 1)))
    energy = sum(padded[:, y : y + rows, x : x + columns] for y in range(3) for x in range(3))
    flat = (cells / np.sqrt(energy + _DARKEST)[..., None]).reshape(len(pixels), -1)
    normalised: np.ndarray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return normalised.astype(np.float32)


def _reduced(values: np.ndarray, most: int, *, mean: bool) -> np.ndarray:
    """Sums or means of [N, H, W, …] over tiles, so that at most `most` rows and columns are left."""
    edges = [np.arange(min(most, size)) * size // min(most, size) for size in values.shape[1:3]]
    sums = np.add.reduceat(np.add.reduceat(values, edges[0], 1), edges[1], 2)
    if not mean:
        return sums
    sizes = [np.diff([*starts, size]) for starts, size in zip(edges, values.shape[1:3], strict=True)]
    return sums / np.outer(*sizes)
