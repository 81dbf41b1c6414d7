"""Fusion by concatenation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream.interfaces import Reading
from mmstream.models.configured import ProjectedLayer


@keras.saving.register_keras_serializable(package="mmstream_fusion")
class Concat(ProjectedLayer):
    """An affine map of the concatenated vectors; an absent field's is zero, and an extra input marks it as absent.

    Source: the joint layer of Ngiam et al., "Multimodal deep learning" (2011).

    Args:
        width: D.
    """

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
