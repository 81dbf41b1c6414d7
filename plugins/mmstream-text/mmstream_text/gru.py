"""A recurrent encoder of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import PADDING, RESERVED_IDS
from mmstream_text.word_encoder import WordEncoder


@keras.saving.register_keras_serializable(package="mmstream_text")
class Gru(WordEncoder):
    """A bidirectional GRU over learnt embeddings; it produces a token for each token of the text.

    Padding and unknown words do not count: their embedding is zero and their position is masked.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).

    Args:
        width: D.
        vocabulary_size: V.
        units: of the embedding, and of the GRU in each direction.
        dropout: share of each embedding that is dropped in training.
    """

    def __init__(
        self,
        width: int,
        vocabulary_size: int,
        *,
        units: Annotated[int, annotated_types.Ge(1)] = 128,
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, vocabulary_size, units, dropout, **kwargs)
        policy = self.dtype_policy
        self.forward = keras.layers.GRU(units, return_sequences=True, name="forward", dtype=policy)
        self.backward = keras.layers.GRU(units, return_sequences=True, name="backward", dtype=policy)
        self.projection = keras.layers.Dense(width, name="projection", dtype=policy)

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"ids": [B, L]}."""
        self.embedding.build(tensors_shape["ids"])
        inner = (*tensors_shape["ids"], self.units)
        self.forward.build(inner)
        self.backward.build(inner)
        self.projection.build((*tensors_shape["ids"], 2 * self.units))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"ids": int64[B, L]} → tokens float[B, L, D], mask float[B, L]."""
        mask = tensors["ids"] >= RESERVED_IDS
        embedded = ops.where(ops.expand_dims(mask, -1), self.embedding(tensors["ids"]), 0)
        embedded = self.drop(embedded, training=training)
        # Each text is reversed on its own, so that its padding comes last in both directions and affects no state.
        # (A mask inside the GRU would do, too, but cuDNN refuses that of a text without tokens.)
        order = _reversed(tensors["ids"])
        ahead = self.forward(embedded, training=training)
        back = self.backward(ops.take_along_axis(embedded, order, axis=1), training=training)
        states = ops.concatenate([ahead, ops.take_along_axis(back, order, axis=1)], axis=-1)
        return {"tokens": self.projection(states), "mask": ops.cast(mask, self.compute_dtype)}


def _reversed(ids: Any) -> Any:
    """int[B, L] → positions int32[B, L, 1] that reverse each text and leave its padding in place; its own inverse."""
    position = ops.arange(ids.shape[1], dtype="int32")
    length = ops.sum(ops.cast(ids != PADDING, "int32"), axis=1, keepdims=True)
    return ops.expand_dims(ops.where(position < length, length - 1 - position, position), -1)
