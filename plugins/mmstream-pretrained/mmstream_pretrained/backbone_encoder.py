"""What encoders with a pretrained backbone share: an affine map from what the backbone gives to the shared width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
from keras import ops

from mmstream.interfaces import Fitted, Spec
from mmstream.models.configured import ConfiguredLayer


class BackboneEncoder(ConfiguredLayer):
    """An encoder that maps each vector of its backbone to a token.

    Args:
        width: D.
        dropout: share of each vector's numbers that is dropped in training.

    Attributes:
        reads: the tensor of a text field that its backbone reads; "" if it reads no text.
        preset: the tokenizer that makes this tensor.
    """

    reads: ClassVar[str] = ""
    preset: ClassVar[str] = ""

    def __init__(self, width: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy)
        self.projection = keras.layers.Dense(width, name="projection", dtype=self.dtype_policy)

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """Return {}: no size depends on the data.

        Raises:
            ValueError: the field has no pieces of the preset's vocabulary.
        """
        if cls.reads and cls.reads not in spec:
            raise ValueError(
                f"it reads pieces of its own vocabulary; set `tokens: {{preset: {cls.preset}}}` in the field"
            )
        return {}

    def build(self, features_shape: Mapping[str, Any]) -> None:
        """Build for {"vectors": [B, T, F]}."""
        self.projection.build(features_shape["vectors"])

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """What the backbone gives → tokens.

        Args:
            features: {"vectors": float[B, T, F]}, and "mask" float[B, T] unless all of them are valid.
            training: whether to apply dropout.

        Returns:
            {"tokens": float[B, T, D], "mask": float[B, T]}.
        """
        vectors = ops.cast(features["vectors"], self.compute_dtype)
        mask = ops.cast(features["mask"], self.compute_dtype) if "mask" in features else ops.ones_like(vectors[:, :, 0])
        return {"tokens": self.projection(self.drop(vectors, training=training)), "mask": mask}
