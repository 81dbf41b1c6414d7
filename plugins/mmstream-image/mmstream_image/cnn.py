"""A convolutional encoder of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import Fitted, Spec

Filters = Annotated[int, annotated_types.Ge(1)]


@keras.saving.register_keras_serializable(package="mmstream_image")
class Cnn(keras.layers.Layer):
    """Residual blocks, each at half the resolution of the one before; the cells of the last grid are the tokens.

    A block is (3 x 3 convolution, batch normalisation, ReLU) twice, beside a 1 x 1 shortcut, then 2 x 2 max pooling.

    Source: He et al., "Deep residual learning for image recognition" (2016), in its small form.

    Args:
        width: D.
        filters: of each block.
        dropout: share of each token's channels that is dropped in training.
    """

    def __init__(
        self,
        width: int,
        *,
        filters: tuple[Filters, ...] = (32, 64, 128, 256),
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.filters = tuple(filters)
        self.dropout = dropout
        policy = self.dtype_policy
        self.blocks = [_Block(count, name=f"block_{n}", dtype=policy) for n, count in enumerate(self.filters)]
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=policy)
        self.projection = keras.layers.Dense(width, name="projection", dtype=policy)

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """The network fits pictures of any size."""
        return {}

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"pixels": [B, H, W, 3]}."""
        shape = tuple(tensors_shape["pixels"])
        for block in self.blocks:
            block.build(shape)
            shape = block.compute_output_shape(shape)
        self.projection.build((None, None, shape[-1]))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"pixels": uint8[B, H, W, 3]} → tokens float[B, T, D], all of them valid."""
        grid = ops.cast(tensors["pixels"], self.compute_dtype) / 127.5 - 1.0
        for block in self.blocks:
            grid = block(grid, training=training)
        _, height, width, channels = grid.shape
        tokens = ops.reshape(grid, (-1, height * width, channels))
        tokens = self.projection(self.drop(tokens, training=training))
        return {"tokens": tokens, "mask": ops.ones_like(tokens[:, :, 0])}

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"width": self.width, "filters": list(self.filters), "dropout": self.dropout}
        return {**super().get_config(), **own}


class _Block(keras.layers.Layer):
    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        policy = self.dtype_policy

        def convolution(name: str, size: int) -> keras.layers.Layer:
            return keras.layers.Conv2D(filters, size, padding="same", use_bias=False, name=name, dtype=policy)

        def normalisation(name: str) -> keras.layers.Layer:
            return keras.layers.BatchNormalization(momentum=0.9, name=name, dtype=policy)

        self.shortcut = convolution("shortcut", 1)
        self.convolutions = [convolution("convolution_0", 3), convolution("convolution_1", 3)]
        self.normalisations = [normalisation("normalisation_0"), normalisation("normalisation_1")]
        self.pool = keras.layers.MaxPooling2D(padding="same", name="pool", dtype=policy)

    def build(self, grid_shape: Any) -> None:
        outer = (*grid_shape[:-1], self.filters)
        self.shortcut.build(grid_shape)
        for layer, shape in zip(self.convolutions, (grid_shape, outer), strict=True):
            layer.build(shape)
        for layer in self.normalisations:
            layer.build(outer)

    def compute_output_shape(self, grid_shape: Any) -> tuple[Any, ...]:
        return self.pool.compute_output_shape((*grid_shape[:-1], self.filters))

    def call(self, grid: Any, training: bool | None = None) -> Any:
        inner = grid
        for index, (convolution, normalisation) in enumerate(zip(self.convolutions, self.normalisations, strict=True)):
            inner = normalisation(convolution(inner), training=training)
            inner = ops.relu(inner if index == 0 else inner + self.shortcut(grid))
        return self.pool(inner)
