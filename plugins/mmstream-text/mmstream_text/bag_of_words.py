"""An encoder of texts that ignores the order of words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import RESERVED_IDS
from mmstream_text.word_encoder import WordEncoder


@keras.saving.register_keras_serializable(package="mmstream_text")
class BagOfWords(WordEncoder):
    """The mean of the embeddings of a text's known tokens, through a hidden layer: one token for the whole text.

    Source: Iyyer et al., "Deep unordered composition rivals syntactic methods for text classification" (2015).

    Args:
        width: D.
        vocabulary_size: V.
        units: of the embedding and of the hidden layer.
        dropout: share of the words that is dropped in training.
    """

    def __init__(
        self,
        width: int,
        vocabulary_size: int,
        *,
        units: Annotated[int, annotated_types.Ge(1)] = 128,
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, vocabulary_size, units, dropout, whole_words=True, **kwargs)
        policy = self.dtype_policy
        self.hidden = keras.layers.Dense(units, activation="relu", name="hidden", dtype=policy)
        self.projection = keras.layers.Dense(width, name="projection", dtype=policy)

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"ids": [B, L]}."""
        self.embedding.build(tensors_shape["ids"])
        self.hidden.build((None, self.units))
        self.projection.build((None, 1, self.units))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"ids": int64[B, L]} → tokens float[B, 1, D], mask float[B, 1], 0 for a text without a known token."""
        mask = ops.expand_dims(ops.cast(tensors["ids"] >= RESERVED_IDS, self.compute_dtype), -1)
        count = ops.sum(mask, axis=1)
        words = self.drop(self.embedding(tensors["ids"]), training=training)
        mean = ops.sum(words * mask, axis=1) / ops.maximum(count, 1)
        return {
            "tokens": self.projection(ops.expand_dims(self.hidden(mean), 1)),
            "mask": ops.cast(count > 0, self.compute_dtype),
        }
