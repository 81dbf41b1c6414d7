"""The network that imputes the embeddings of missing fields from those of the fields that are present."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mmstream.models.configured import ConfiguredLayer


@keras.saving.register_keras_serializable(package="mmstream_gan")
class Generator(ConfiguredLayer):
    """G(z) = W_g tanh(W_g' z + b_g) for each field, where z holds the other fields' embeddings and their presence.

    Args:
        fields: whose embeddings it imputes.
        hidden: units of the hidden layer, the rows of W_g'.
    """

    def __init__(self, fields: Sequence[str], hidden: int, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs})
        self.fields = sorted(fields)
        self.hidden = hidden
        self.inner = {
            name: keras.layers.Dense(hidden, activation="tanh", name=f"inner_{name}", dtype="float32")
            for name in self.fields
        }
        self.outer: dict[str, Any] = {}

    def build(self, vectors_shape: Mapping[str, Any], present_shape: Any = None) -> None:
        """Build for embeddings [B, D]."""
        width = vectors_shape[self.fields[0]][-1]
        for name in self.fields:
            self.outer[name] = keras.layers.Dense(width, use_bias=False, name=f"outer_{name}", dtype="float32")
            self.inner[name].build((None, (width + 1) * (len(self.fields) - 1)))
            self.outer[name].build((None, self.hidden))
        self.built = True

    def call(self, vectors: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
        """{field: float[B, D]}, {field: float32[B]} → {field: float32[B, D]}, each from the others alone."""
        return {name: self.outer[name](self.inner[name](self.others(name, vectors, present))) for name in self.fields}

    def others(self, field: str, vectors: Mapping[str, Any], present: Mapping[str, Any]) -> Any:
        """The vector that a field's embedding is imputed from: float32[B, (D + 1)(F - 1)], zeros for absent fields."""
        parts = []
        for name in self.fields:
            if name != field:
                there = ops.expand_dims(ops.cast(present[name], "float32"), -1)
                parts += [ops.where(there > 0, ops.cast(vectors[name], "float32"), 0.0), there]
        return ops.concatenate(parts, axis=-1)
