"""Fusion by gates that weigh the fields against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream.interfaces import Reading
from mmstream.models.configured import ProjectedLayer

_NEVER = -1e9


@keras.saving.register_keras_serializable(package="mmstream_fusion")
class Gated(ProjectedLayer):
    """h_f = tanh(W_f v_f), g = softmax over fields of (U_f z), fused = W Σ_f g_f ⊙ h_f + b, where z joins all v_f.

    The gates weigh the fields separately for each coordinate, and only the fields that are present.

    Source: Arevalo et al., "Gated multimodal units for information fusion" (2017), its two gates generalised to a
    softmax over any number of fields.

    Args:
        width: D.
    """

    def build(self, readings_shape: Mapping[str, Any]) -> None:
        """Build for vectors [B, D]."""
        columns = sum(shapes["vector"][-1] for shapes in readings_shape.values())
        self.contents = {}
        for name in sorted(readings_shape):
            self.contents[name] = keras.layers.Dense(
                self.width, activation="tanh", name=f"content_{name}", dtype=self.dtype_policy
            )
            self.contents[name].build(readings_shape[name]["vector"])
        self.gates = keras.layers.Dense(len(self.contents) * self.width, name="gates", dtype=self.dtype_policy)
        self.gates.build((None, columns))
        self.projection.build((None, self.width))

    def call(self, readings: Mapping[str, Reading], training: bool | None = None) -> Any:
        """{field: reading} → float[B, D]."""
        names = sorted(readings)
        there = ops.stack([readings[name]["present"] for name in names], axis=1) > 0
        vectors = [ops.where(there[:, n, None], readings[name]["vector"], 0) for n, name in enumerate(names)]
        contents = ops.stack([self.contents[name](v) for name, v in zip(names, vectors, strict=True)], axis=1)
        scores = ops.reshape(self.gates(ops.concatenate(vectors, axis=-1)), (-1, len(names), self.width))
        scores = ops.where(there[..., None], ops.cast(scores, "float32"), _NEVER)
        gates = ops.cast(ops.softmax(scores, axis=1), contents.dtype)
        return self.projection(ops.sum(gates * contents, axis=1))
