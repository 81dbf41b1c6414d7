"""Shared by convolutional encoders of pictures: blocks after a stem, and the cells of the last grid as tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream.interfaces import Fitted, Spec
from mmstream.models.configured import ConfiguredLayer


class GridEncoder(ConfiguredLayer):
    """An encoder that turns a picture into a grid, whose cells are the tokens.

    Args:
        width: D.
        dropout: share of each token's channels that is dropped in training.
    """

    def __init__(self, width: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.dropout = dropout

    def add_blocks(self, blocks: list[keras.layers.Layer]) -> None:
        """Keep the blocks that follow the stem, and make what follows them; constructors call this last."""
        self.blocks = blocks
        self.drop = keras.layers.Dropout(self.dropout, name="dropout", dtype=self.dtype_policy)
        self.projection = keras.layers.Dense(self.width, name="projection", dtype=self.dtype_policy)

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """Return {}: no size depends on the data, as the network takes pictures of any size."""
        return {}

    def stem_shape(self, pixels_shape: Any) -> Any:
        """Build the stem for pixels [B, H, W, 3] → the shape of its grid."""
        raise NotImplementedError

    def stem_grid(self, pixels: Any, training: bool | None) -> Any:
        """Pixels float[B, H, W, 3], from -1 to 1 → the stem's grid."""
        raise NotImplementedError

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"pixels": [B, H, W, 3]}."""
        shape = self.stem_shape(tensors_shape["pixels"])
        for block in self.blocks:
            block.build(shape)
            shape = block.compute_output_shape(shape)
        self.projection.build((None, None, shape[-1]))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"pixels": uint8[B, H, W, 3]} → tokens float[B, T, D], all of them valid."""
        grid = self.stem_grid(ops.cast(tensors["pixels"], self.compute_dtype) / 127.5 - 1.0, training)
        for block in self.blocks:
            grid = block(grid, training=training)
        _, height, width, channels = grid.shape
        tokens = ops.reshape(grid, (-1, height * width, channels))
        tokens = self.projection(self.drop(tokens, training=training))
        return {"tokens": tokens, "mask": ops.ones_like(tokens[:, :, 0])}
