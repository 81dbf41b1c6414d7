"""A recurrent encoder of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import PADDING, RESERVED_IDS, Fitted, Spec


@keras.saving.register_keras_serializable(package="mmstream_text")
class Gru(keras.layers.Layer):
    """An embedding and a GRU in both directions; a token for each token of the text.

    Padding and unknown words weigh nothing: their embedding is zero and their place is masked.

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
        super().__init__(**kwargs)
        self.width = width
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.dropout = dropout
        policy = self.dtype_policy
        self.embedding = keras.layers.Embedding(vocabulary_size + RESERVED_IDS, units, name="embedding", dtype=policy)
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=policy)
        self.forward = keras.layers.GRU(units, return_sequences=True, name="forward", dtype=policy)
        self.backward = keras.layers.GRU(units, return_sequences=True, name="backward", dtype=policy)
        self.projection = keras.layers.Dense(width, name="projection", dtype=policy)

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """As many embeddings as the field has tokens."""
        return {"vocabulary_size": len(fitted.vocabulary)}

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"ids": [B, L]}."""
        self.embedding.build(tensors_shape["ids"])
        inner = (*tensors_shape["ids"], self.units)
        self.forward.build(inner)
        self.backward.build(inner)
        self.projection.build((*tensors_shape["ids"], 2 * self.units))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"ids": int64[B, L]} → tokens float[B, L, D], mask float[B, L]."""
        known = tensors["ids"] >= RESERVED_IDS
        embedded = ops.where(ops.expand_dims(known, -1), self.embedding(tensors["ids"]), 0)
        embedded = self.drop(embedded, training=training)
        # Each text is turned round by itself, so that its padding comes last both ways and no state has met it. (A mask
        # inside would do, too, but cuDNN refuses that of a text without tokens.)
        turned = _turned(tensors["ids"])
        ahead = self.forward(embedded, training=training)
        back = self.backward(ops.take_along_axis(embedded, turned, axis=1), training=training)
        states = ops.concatenate([ahead, ops.take_along_axis(back, turned, axis=1)], axis=-1)
        return {"tokens": self.projection(states), "mask": ops.cast(known, self.compute_dtype)}

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {
            "width": self.width,
            "vocabulary_size": self.vocabulary_size,
            "units": self.units,
            "dropout": self.dropout,
        }
        return {**super().get_config(), **own}


def _turned(ids: Any) -> Any:
    """int[B, L] → places int32[B, L, 1] in which each text stands in reverse and its padding as it was.

    Turning twice gives what was there before.
    """
    place = ops.arange(ids.shape[1], dtype="int32")
    length = ops.sum(ops.cast(ids != PADDING, "int32"), axis=1, keepdims=True)
    return ops.expand_dims(ops.where(place < length, length - 1 - place, place), -1)
