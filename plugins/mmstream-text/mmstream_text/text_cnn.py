"""A convolutional encoder of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import RESERVED_IDS
from mmstream_text.word_encoder import WordEncoder

Count = Annotated[int, annotated_types.Ge(1)]


@keras.saving.register_keras_serializable(package="mmstream_text")
class TextCnn(WordEncoder):
    """Convolutions of several widths over learnt embeddings, each with its maximum over the text: one token for a text.

    All positions are computed at once, where a GRU takes one step after another. Padding and unknown words do not
    count: their embedding is zero, and no convolution is centred on them.

    Source: Kim, "Convolutional neural networks for sentence classification" (2014).

    Args:
        width: D.
        vocabulary_size: V.
        units: of the embedding.
        filters: of each width of convolution.
        widths: of the convolutions, in tokens.
        dropout: share of the words, and of the maxima, that is dropped in training.
    """

    def __init__(
        self,
        width: int,
        vocabulary_size: int,
        *,
        units: Count = 128,
        filters: Count = 100,
        widths: Annotated[Sequence[Count], annotated_types.MinLen(1)] = (2, 3, 4),
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.3,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, vocabulary_size, units, dropout, whole_words=True, **kwargs)
        self.filters = filters
        self.widths = list(widths)
        policy = self.dtype_policy
        self.drop_maxima = keras.layers.Dropout(dropout, name="dropout_of_maxima", dtype=policy)
        self.convolutions = [
            keras.layers.Conv1D(filters, size, padding="same", activation="relu", name=f"conv_{n}", dtype=policy)
            for n, size in enumerate(self.widths)
        ]
        self.projection = keras.layers.Dense(width, name="projection", dtype=policy)

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"ids": [B, L]}."""
        self.embedding.build(tensors_shape["ids"])
        for convolution in self.convolutions:
            convolution.build((*tensors_shape["ids"], self.units))
        self.projection.build((None, 1, self.filters * len(self.convolutions)))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"ids": int64[B, L]} → tokens float[B, 1, D], mask float[B, 1], 0 for a text without a known token."""
        known = ops.expand_dims(ops.cast(tensors["ids"] >= RESERVED_IDS, self.compute_dtype), -1)
        words = self.drop(self.embedding(tensors["ids"]), training=training) * known
        maxima = [ops.max(convolution(words) * known, axis=1, keepdims=True) for convolution in self.convolutions]
        joined = self.drop_maxima(ops.concatenate(maxima, axis=-1), training=training)
        return {"tokens": self.projection(joined), "mask": ops.max(known, axis=1)}
