"""Fusion by attention over the coordinates of all fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream.interfaces import Reading
from mmstream.models.configured import ProjectedLayer

_NEVER = -1e9


@keras.saving.register_keras_serializable(package="mmstream_fusion")
class Attention(ProjectedLayer):
    """a = softmax(W_a z + b_a), h = n · a ⊙ z, fused = W h + b, where z is the concatenation of all fields' vectors.

    The coordinates of an absent field are zero and get no attention. n is the number of all other coordinates: it makes
    the mean weight 1, as the softmax alone would shrink the signal n-fold.

    Source: the feature attention of Bahdanau et al. (2015) in the form h = softmax(W_a z + b_a) ⊙ z.

    Args:
        width: D.
    """

    def build(self, readings_shape: Mapping[str, Any]) -> None:
        """Build for vectors [B, D]."""
        columns = sum(shapes["vector"][-1] for shapes in readings_shape.values())
        self.attention = keras.layers.Dense(columns, name="attention", dtype=self.dtype_policy)
        self.attention.build((None, columns))
        self.projection.build((None, columns))

    def call(self, readings: Mapping[str, Reading], training: bool | None = None) -> Any:
        """{field: reading} → float[B, D]."""
        vectors, masks = [], []
        for name in sorted(readings):
            vector = readings[name]["vector"]
            there = ops.expand_dims(readings[name]["present"] > 0, -1)
            vectors.append(ops.where(there, vector, 0))
            masks.append(ops.broadcast_to(there, ops.shape(vector)))
        z, counted = ops.concatenate(vectors, axis=-1), ops.concatenate(masks, axis=-1)
        scores = ops.where(counted, ops.cast(self.attention(z), "float32"), _NEVER)
        count = ops.sum(ops.cast(counted, "float32"), axis=-1, keepdims=True)
        weights = ops.cast(ops.softmax(scores) * count, z.dtype)
        return self.projection(weights * z)
