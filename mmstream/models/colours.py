"""The colours of pictures: features for linear models, beside a network and as a baseline."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mmstream.models.configured import ConfiguredLayer

_BINS = 8
"""Bins of each channel: a histogram of C channels has BINS^C shares."""
_THUMBNAIL = 8
"""Height and width of the thumbnail."""
_LOOKED_AT = 48
"""Of a larger picture, only every second, third, … row and column is counted, at least so many of each."""


@keras.saving.register_keras_serializable(package="mmstream")
class Colours(ConfiguredLayer):
    """The square root of the share of each colour in a picture, and a thumbnail of the picture.

    Source: Swain & Ballard, "Color indexing" (1991), for histograms of colours; their roots make the scalar product of
    two pictures the Bhattacharyya coefficient.
    """

    def call(self, pixels: Any) -> Any:
        """uint8[B, H, W, C] → float32[B, F], F as `count_colours` says."""
        roots = ops.sqrt(_shares(pixels))
        height, width, channels = pixels.shape[1:]
        down, across = _tiles(height), _tiles(width)
        scaled = ops.cast(pixels, "float32") / 255 - 0.5
        thumbnails = ops.einsum("ih,bhwc,jw->bijc", down, scaled, across)
        flat = ops.reshape(thumbnails, (-1, _THUMBNAIL * _THUMBNAIL * channels))
        return ops.concatenate([roots, flat / _THUMBNAIL], axis=1)


def count_colours(channels: int) -> int:
    """F, the number of features of pictures with C channels."""
    return int(_BINS**channels + _THUMBNAIL * _THUMBNAIL * channels)


def _shares(pixels: Any) -> Any:
    """float32[B, BINS^C]: the share of each colour among the pixels that are looked at."""
    height, width, channels = pixels.shape[1:]
    some = pixels[:, :: max(height // _LOOKED_AT, 1), :: max(width // _LOOKED_AT, 1)]
    count = some.shape[1] * some.shape[2]
    bins = ops.reshape(ops.cast(some, "int32") // (256 // _BINS), (-1, count, channels))
    hot = ops.one_hot(bins, _BINS, dtype="float32")  # [B, pixels, C, BINS]
    # Counting by matrix products, as sums by place are slow, and not known to every engine.
    colours = hot[:, :, 0]
    for channel in range(1, channels - 1):
        colours = ops.expand_dims(colours, 3) * ops.expand_dims(hot[:, :, channel], 2)
        colours = ops.reshape(colours, (-1, count, _BINS ** (channel + 1)))
    if channels == 1:
        return ops.mean(colours, axis=1)
    return ops.reshape(ops.matmul(ops.swapaxes(colours, 1, 2), hot[:, :, -1]), (-1, _BINS**channels)) / count


def _tiles(size: int) -> np.ndarray:
    """float32[THUMBNAIL, size]: each row takes the mean of one of as many parts of about equal size."""
    edges = np.arange(_THUMBNAIL + 1) * size / _THUMBNAIL
    places = np.arange(size)
    inside = np.minimum(places + 1, edges[1:, None]) - np.maximum(places, edges[:-1, None])
    tiles = np.maximum(inside, 0)
    normalised: np.ndarray = (tiles / tiles.sum(1, keepdims=True)).astype(np.float32)
    return normalised
