"""Encoders of tables: categories, tags and numbers as inputs of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import RESERVED_IDS, Fitted, Spec
from mmstream.models.configured import ConfiguredLayer

Count = Annotated[int, annotated_types.Ge(1)]
Share = Annotated[float, annotated_types.Interval(ge=0, lt=1)]


@keras.saving.register_keras_serializable(package="mmstream_tabular")
class Embedding(ConfiguredLayer):
    """A learnt vector for each value of a `category`; each of the field's columns is a token.

    An absent or unknown value is masked.

    Source: Guo and Berkhahn, "Entity embeddings of categorical variables" (2016).

    Args:
        width: D.
        vocabulary_size: V.
        units: of the embedding.
        dropout: share of the values that is dropped in training.
    """

    def __init__(
        self, width: int, vocabulary_size: int, *, units: Count = 64, dropout: Share = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.dropout = dropout
        policy = self.dtype_policy
        self.embedding = keras.layers.Embedding(vocabulary_size + RESERVED_IDS, units, name="embedding", dtype=policy)
        self.drop = keras.layers.Dropout(dropout, noise_shape=(None, None, 1), name="dropout", dtype=policy)
        self.projection = keras.layers.Dense(width, name="projection", dtype=policy)

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """As many embeddings as the field has values."""
        return {"vocabulary_size": len(fitted.vocabulary)}

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"id": [B] or [B, N]}."""
        self.embedding.build((None, None))
        self.projection.build((None, None, self.units))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"id": int64[B] or int64[B, N]} → tokens float[B, N, D], mask float[B, N]."""
        ids = tensors["id"]
        ids = ops.expand_dims(ids, 1) if len(ids.shape) == 1 else ids
        mask = ops.cast(ids >= RESERVED_IDS, self.compute_dtype)
        embedded = self.drop(self.embedding(ids), training=training)
        return {"tokens": self.projection(embedded * ops.expand_dims(mask, -1)), "mask": mask}


class _HiddenLayer(ConfiguredLayer):
    """Turns the features of a record into a single token, through one hidden layer."""

    def __init__(self, width: int, units: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.units = units
        self.dropout = dropout
        policy = self.dtype_policy
        self.hidden = keras.layers.Dense(units, activation="relu", name="hidden", dtype=policy)
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=policy)
        self.projection = keras.layers.Dense(width, name="projection", dtype=policy)

    def _build(self, features: int) -> None:
        self.hidden.build((None, features))
        self.projection.build((None, 1, self.units))

    def _token(self, features: Any, training: bool | None) -> Any:
        """float[B, features] → float[B, 1, D]."""
        return self.projection(ops.expand_dims(self.drop(self.hidden(features), training=training), 1))


@keras.saving.register_keras_serializable(package="mmstream_tabular")
class BagOfTags(_HiddenLayer):
    """The `tags` of a record through a hidden layer: one token for all of them.

    Source: the bag-of-features network of Covington et al., "Deep neural networks for YouTube recommendations" (2016).

    Args:
        width: D.
        tags: V.
        units: of the hidden layer.
        dropout: share of the hidden units that is dropped in training.
    """

    def __init__(self, width: int, tags: int, *, units: Count = 128, dropout: Share = 0.1, **kwargs: Any) -> None:
        super().__init__(width, units, dropout, **kwargs)
        self.tags = tags

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """As many inputs as the field has values."""
        return {"tags": len(fitted.vocabulary)}

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"hot": [B, V]}."""
        self._build(tensors_shape["hot"][-1])

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"hot": uint8[B, V]} → tokens float[B, 1, D], mask float[B, 1], always 1: having no tags says something."""
        token = self._token(ops.cast(tensors["hot"], self.compute_dtype), training)
        return {"tokens": token, "mask": ops.ones_like(token[:, :, 0])}


@keras.saving.register_keras_serializable(package="mmstream_tabular")
class Mlp(_HiddenLayer):
    """The numbers of a record, and which of them are known, through a hidden layer: one token for all of them.

    Source: Rumelhart et al., "Learning representations by back-propagating errors" (1986).

    Args:
        width: D.
        units: of the hidden layer.
        dropout: share of the hidden units that is dropped in training.
    """

    def __init__(self, width: int, *, units: Count = 128, dropout: Share = 0.1, **kwargs: Any) -> None:
        super().__init__(width, units, dropout, **kwargs)

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """Return {}: no size depends on the data, as the network takes any number of numbers."""
        return {}

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"values": [B, N], "known": [B, N]}."""
        self._build(tensors_shape["values"][-1] + tensors_shape["known"][-1])

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"values": float32[B, N], "known": float32[B, N]} → tokens float[B, 1, D], mask float[B, 1]."""
        values, known = (ops.cast(tensors[name], self.compute_dtype) for name in ("values", "known"))
        token = self._token(ops.concatenate([values, known], axis=-1), training)
        return {"tokens": token, "mask": ops.max(known, axis=-1, keepdims=True)}
