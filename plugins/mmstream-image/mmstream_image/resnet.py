"""Residual networks as encoders of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import Fitted, Spec

STAGES: Mapping[int, tuple[int, ...]] = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks in each stage, by depth."""
BOTTLENECKS = (50, 101)
"""Depths whose blocks squeeze their channels to a quarter."""


@keras.saving.register_keras_serializable(package="mmstream_image")
class Resnet(keras.layers.Layer):
    """A residual network; the cells of the last grid, a 32nd of the picture's side, are the tokens.

    The picture is halved twice by the stem, and once by each stage but the first. A small picture (under 128 pixels)
    keeps more of its grid with `stem: small`, a 3 x 3 convolution that halves nothing: then the tokens are an 8th of
    its side apart.

    Source: He et al., "Deep residual learning for image recognition" (2016), with the stride in the 3 x 3 convolution
    of a bottleneck, and shortcuts of 2 x 2 mean pooling as in He, T., et al., "Bag of tricks for image classification"
    (2019).

    Args:
        width: D.
        depth: layers, which say how many blocks there are and of which kind.
        stem: "large" is a 7 x 7 convolution and 3 x 3 max pooling, both of stride 2; "small" is described above.
        filters: of the first stage; each next one has twice as many, bottlenecks give out four times as many.
        dropout: share of each token's channels that is dropped in training.
    """

    def __init__(
        self,
        width: int,
        *,
        depth: Literal[18, 34, 50, 101] = 18,
        stem: Literal["large", "small"] = "large",
        filters: Annotated[int, annotated_types.Ge(1)] = 64,
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.depth = depth
        self.stem = stem
        self.filters = filters
        self.dropout = dropout
        policy = self.dtype_policy
        size, strides = (7, 2) if stem == "large" else (3, 1)
        self.first = _Convolution(filters, size, strides, name="first", dtype=policy)
        self.pool = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="pool", dtype=policy)
        kind = _Bottleneck if depth in BOTTLENECKS else _Basic
        self.blocks = [
            kind(filters * 2**stage, 2 if stage and not place else 1, name=f"block_{stage}_{place}", dtype=policy)
            for stage, count in enumerate(STAGES[depth])
            for place in range(count)
        ]
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=policy)
        self.projection = keras.layers.Dense(width, name="projection", dtype=policy)

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """The network fits pictures of any size."""
        return {}

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"pixels": [B, H, W, 3]}."""
        self.first.build(tensors_shape["pixels"])
        shape = self.first.compute_output_shape(tensors_shape["pixels"])
        if self.stem == "large":
            shape = self.pool.compute_output_shape(shape)
        for block in self.blocks:
            block.build(shape)
            shape = block.compute_output_shape(shape)
        self.projection.build((None, None, shape[-1]))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"pixels": uint8[B, H, W, 3]} → tokens float[B, T, D], all of them valid."""
        grid = ops.cast(tensors["pixels"], self.compute_dtype) / 127.5 - 1.0
        grid = ops.relu(self.first(grid, training=training))
        if self.stem == "large":
            grid = self.pool(grid)
        for block in self.blocks:
            grid = block(grid, training=training)
        _, height, width, channels = grid.shape
        tokens = ops.reshape(grid, (-1, height * width, channels))
        tokens = self.projection(self.drop(tokens, training=training))
        return {"tokens": tokens, "mask": ops.ones_like(tokens[:, :, 0])}

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {
            "width": self.width,
            "depth": self.depth,
            "stem": self.stem,
            "filters": self.filters,
            "dropout": self.dropout,
        }
        return {**super().get_config(), **own}


class _Convolution(keras.layers.Layer):
    """A convolution without bias, and batch normalisation."""

    def __init__(self, filters: int, size: int, strides: int = 1, *, gamma: str = "ones", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.convolution = keras.layers.Conv2D(
            filters, size, strides=strides, padding="same", use_bias=False, name="convolution", dtype=policy
        )
        self.normalisation = keras.layers.BatchNormalization(
            momentum=0.9, gamma_initializer=gamma, name="normalisation", dtype=policy
        )

    def build(self, grid_shape: Any) -> None:
        self.convolution.build(grid_shape)
        self.normalisation.build(self.compute_output_shape(grid_shape))

    def compute_output_shape(self, grid_shape: Any) -> Any:
        return self.convolution.compute_output_shape(grid_shape)

    def call(self, grid: Any, training: bool | None = None) -> Any:
        return self.normalisation(self.convolution(grid), training=training)


class _Block(keras.layers.Layer):
    """What a block's convolutions give, beside a shortcut. The last normalisation starts at zero, so that it does."""

    def __init__(self, channels: int, strides: int, convolutions: list[_Convolution], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.channels = channels
        self.strides = strides
        self.convolutions = convolutions
        self.mean = keras.layers.AveragePooling2D(strides, padding="same", name="mean", dtype=policy)
        self.shortcut: _Convolution | None = None

    def build(self, grid_shape: Any) -> None:
        shape = grid_shape
        for convolution in self.convolutions:
            convolution.build(shape)
            shape = convolution.compute_output_shape(shape)
        if self.strides > 1 or grid_shape[-1] != self.channels:
            self.shortcut = _Convolution(self.channels, 1, name="shortcut", dtype=self.dtype_policy)
            self.shortcut.build((*shape[:-1], grid_shape[-1]))

    def compute_output_shape(self, grid_shape: Any) -> tuple[Any, ...]:
        for convolution in self.convolutions:
            grid_shape = convolution.compute_output_shape(grid_shape)
        return tuple(grid_shape)

    def call(self, grid: Any, training: bool | None = None) -> Any:
        inner = grid
        for place, convolution in enumerate(self.convolutions):
            inner = convolution(inner if not place else ops.relu(inner), training=training)
        if self.shortcut is not None:
            grid = self.mean(grid) if self.strides > 1 else grid
            grid = self.shortcut(grid, training=training)
        return ops.relu(grid + inner)


class _Basic(_Block):
    def __init__(self, filters: int, strides: int, *, dtype: Any, **kwargs: Any) -> None:
        convolutions = [
            _Convolution(filters, 3, strides, name="convolution_0", dtype=dtype),
            _Convolution(filters, 3, gamma="zeros", name="convolution_1", dtype=dtype),
        ]
        super().__init__(filters, strides, convolutions, dtype=dtype, **kwargs)


class _Bottleneck(_Block):
    def __init__(self, filters: int, strides: int, *, dtype: Any, **kwargs: Any) -> None:
        convolutions = [
            _Convolution(filters, 1, name="convolution_0", dtype=dtype),
            _Convolution(filters, 3, strides, name="convolution_1", dtype=dtype),
            _Convolution(4 * filters, 1, gamma="zeros", name="convolution_2", dtype=dtype),
        ]
        super().__init__(4 * filters, strides, convolutions, dtype=dtype, **kwargs)
