"""A transformer encoder of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import RESERVED_IDS, Fitted, Spec
from mmstream.models.transformer import TransformerStack

Count = Annotated[int, annotated_types.Ge(1)]


@keras.saving.register_keras_serializable(package="mmstream_text")
class Transformer(keras.layers.Layer):
    """Tokens that attend to each other; a token for each token of the text.

    A token is the sum of the learnt embeddings of what it says and of where it stands. Padding and unknown words weigh
    nothing: nothing attends to them, and their place is masked.

    Source: Vaswani et al., "Attention is all you need" (2017), as an encoder alone with learnt places as in Devlin et
    al., "BERT" (2019).

    Args:
        width: D.
        vocabulary_size: V.
        length: L.
        units: of a token within the encoder, a multiple of `heads`.
        layers: transformer blocks.
        heads: of each block's attention.
        dropout: share that is dropped in training, of each token at the start and of what each block adds.
    """

    def __init__(
        self,
        width: int,
        vocabulary_size: int,
        length: int,
        *,
        units: Count = 128,
        layers: Count = 2,
        heads: Count = 4,
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.vocabulary_size = vocabulary_size
        self.length = length
        self.units = units
        self.layers = layers
        self.heads = heads
        self.dropout = dropout
        policy = self.dtype_policy
        self.embedding = keras.layers.Embedding(vocabulary_size + RESERVED_IDS, units, name="embedding", dtype=policy)
        self.stack = TransformerStack(length, units, layers, heads, dropout, name="stack", dtype=policy)
        self.projection = keras.layers.Dense(width, name="projection", dtype=policy)

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """As many embeddings as the field has tokens, and as many places."""
        return {"vocabulary_size": len(fitted.vocabulary), "length": spec["ids"].shape[0]}

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"ids": [B, L]}."""
        self.embedding.build(tensors_shape["ids"])
        self.stack.build((None, self.length, self.units))
        self.projection.build((None, self.length, self.units))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"ids": int64[B, L]} → tokens float[B, L, D], mask float[B, L]."""
        mask = ops.cast(tensors["ids"] >= RESERVED_IDS, self.compute_dtype)
        tokens = self.stack(self.embedding(tensors["ids"]), mask, training=training)
        return {"tokens": self.projection(tokens), "mask": mask}

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {
            "width": self.width,
            "vocabulary_size": self.vocabulary_size,
            "length": self.length,
            "units": self.units,
            "layers": self.layers,
            "heads": self.heads,
            "dropout": self.dropout,
        }
        return {**super().get_config(), **own}
