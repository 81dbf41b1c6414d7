"""An encoder of texts by their n-grams: strong on few records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import Fitted, Spec
from mmstream.models.configured import ProjectedLayer

Share = Annotated[float, annotated_types.Interval(ge=0, lt=1)]


@keras.saving.register_keras_serializable(package="mmstream_text")
class Ngrams(ProjectedLayer):
    """A linear and a deep part over TF-IDF of n-grams; their sum is one token for the whole text.

    The linear part begins at zero, as in logistic regression: an n-gram that training says nothing about has no effect.

    The TF-IDF of each n-gram is multiplied by its root mean square over all texts. An optimizer that divides each
    gradient by its own root mean square, as Adam does, would else take as large steps for what occurs once as for what
    is frequent, and learn texts by heart through their rarest n-grams. With this factor its steps are in proportion to
    TF-IDF, as those of gradient descent are. The products of a text then get the norm `scale`.

    Source: Cheng et al., "Wide & deep learning" (2016).

    Args:
        width: D.
        features: F, n-grams in the vocabulary.
        units: of the deep part; 0 for none.
        dropout: share of the n-grams that is dropped in training, and of the hidden layer.
        scale: the norm of the inputs of a text.
    """

    def __init__(
        self,
        width: int,
        features: int,
        *,
        units: Annotated[int, annotated_types.Ge(0)] = 64,
        dropout: Share = 0.3,
        scale: Annotated[float, annotated_types.Gt(0)] = 7.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, **kwargs)
        self.features = features
        self.units = units
        self.dropout = dropout
        self.scale = scale
        policy = self.dtype_policy
        self.wide = keras.layers.Embedding(
            features + 1, width, embeddings_initializer="zeros", name="wide", dtype=policy
        )
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=policy)
        self.deep = keras.layers.Embedding(features + 1, units, name="deep", dtype=policy) if units else None
        self.hidden = keras.layers.Dense(units, activation="relu", name="hidden", dtype=policy) if units else None

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """As many embeddings as the field has n-grams."""
        if "ngrams" not in spec:
            raise ValueError("the field keeps no n-grams; set its `ngrams`, for example `ngrams: 20000`")
        return {"features": int(fitted.statistics["ngram_count"][0])}

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"ngrams": [B, M], …}."""
        self.wide.build(tensors_shape["ngrams"])
        if self.deep is not None and self.hidden is not None:
            self.deep.build(tensors_shape["ngrams"])
            self.hidden.build((None, self.units))
            self.projection.build((None, self.units))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"ngrams": int64[B, M], "ngram_weights", "ngram_spreads": float32[B, M]} → {"tokens", "mask"}.

        Returns:
            tokens float[B, 1, D] and mask float[B, 1], 0 for a text without a known n-gram.
        """
        ids, known = tensors["ngrams"], ops.any(tensors["ngrams"] > 0, axis=1, keepdims=True)
        weights = tensors["ngram_weights"] * tensors["ngram_spreads"]
        norm = ops.sqrt(ops.sum(ops.square(weights), axis=1, keepdims=True) + keras.config.epsilon() ** 2)
        weights = ops.cast(self.scale * weights / norm, self.compute_dtype)
        weights = ops.expand_dims(self.drop(weights, training=training), 1)
        tokens = ops.matmul(weights, self.wide(ids))
        if self.deep is not None and self.hidden is not None:
            hidden = self.drop(self.hidden(ops.matmul(weights, self.deep(ids))), training=training)
            tokens += self.projection(hidden)
        return {"tokens": tokens, "mask": ops.cast(known, self.compute_dtype)}
