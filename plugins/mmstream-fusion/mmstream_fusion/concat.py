"""Fusion by concatenation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream.interfaces import Reading


@keras.saving.register_keras_serializable(package="mmstream_fusion")
class Concat(keras.layers.Layer):
    """An affine map of all vectors side by side; an absent one is zero, and a bit says so.

    Source: the joint layer of Ngiam et al., "Multimodal deep learning" (2011).

    Args:
        width: D.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.projection = keras.layers.Dense(width, name="projection", dtype=self.dtype_policy)

    def build(self, readings_shape: Mapping[str, Any]) -> None:
        """Build for vectors [B, D]."""
        columns = sum(shapes["vector"][-1] + 1 for shapes in readings_shape.values())
        self.projection.build((None, columns))

    def call(self, readings: Mapping[str, Reading], training: bool | None = None) -> Any:
        """{field: reading} → float[B, D]."""
        pieces = []
        for name in sorted(readings):
            vector = readings[name]["vector"]
            there = ops.expand_dims(ops.cast(readings[name]["present"], vector.dtype), -1)
            pieces += [ops.where(there > 0, vector, 0), there]
        return self.projection(ops.concatenate(pieces, axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "width": self.width}
