"""A transformer encoder of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import RESERVED_IDS, Fitted, Spec
from mmstream.models.transformer import TransformerEncoder

Count = Annotated[int, annotated_types.Ge(1)]


@keras.saving.register_keras_serializable(package="mmstream_text")
class Transformer(TransformerEncoder):
    """A transformer over the tokens of a text; it produces a token for each of them.

    Each input token is the sum of two learnt embeddings, of its id and of its position. Padding and unknown words are
    masked: nothing attends to them.

    Source: Vaswani et al., "Attention is all you need" (2017), the encoder alone, with learnt position embeddings as in
    Devlin et al., "BERT" (2019).

    Args:
        width: D.
        vocabulary_size: V.
        length: L.
        units: of a token within the encoder, a multiple of `heads`.
        layers: transformer blocks.
        heads: of each block's attention.
        dropout: share that is dropped in training, of the input tokens and of what each block adds.
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
        super().__init__(width, units=units, layers=layers, heads=heads, dropout=dropout, **kwargs)
        self.vocabulary_size = vocabulary_size
        self.length = length
        rows, policy = vocabulary_size + RESERVED_IDS, self.dtype_policy
        self.embedding = keras.layers.Embedding(rows, units, name="embedding", dtype=policy)
        self.add_stack(length)

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """As many embeddings as the field has tokens, and its length."""
        return {"vocabulary_size": len(fitted.vocabulary), "length": spec["ids"].shape[0]}

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"ids": [B, L]}."""
        self.embedding.build(tensors_shape["ids"])
        self.build_stack()

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"ids": int64[B, L]} → tokens float[B, L, D], mask float[B, L]."""
        mask = ops.cast(tensors["ids"] >= RESERVED_IDS, self.compute_dtype)
        return self.encode(self.embedding(tensors["ids"]), mask, training)
