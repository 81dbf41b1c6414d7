"""Shared by the encoders of texts without a transformer."""

from __future__ import annotations

from typing import Any

import keras

from mmstream.interfaces import RESERVED_IDS, Fitted, Spec
from mmstream.models.configured import ConfiguredLayer


class WordEncoder(ConfiguredLayer):
    """An encoder that begins with an embedding of each token of a text.

    Args:
        width: D.
        vocabulary_size: V.
        units: of the embedding.
        dropout: share of the embeddings that is dropped in training.
        whole_words: whether whole embeddings are dropped, rather than single numbers of them.
    """

    def __init__(
        self, width: int, vocabulary_size: int, units: int, dropout: float, *, whole_words: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.dropout = dropout
        policy, shape = self.dtype_policy, (None, None, 1) if whole_words else None
        self.embedding = keras.layers.Embedding(vocabulary_size + RESERVED_IDS, units, name="embedding", dtype=policy)
        self.drop = keras.layers.Dropout(dropout, noise_shape=shape, name="dropout", dtype=policy)

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """As many embeddings as the field has tokens."""
        return {"vocabulary_size": len(fitted.vocabulary)}
