"""Residual networks as encoders of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import annotated_types
import keras
from keras import ops

from mmstream_image.grid_encoder import GridEncoder

STAGES: Mapping[int, tuple[int, ...]] = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks in each stage, by depth."""
BOTTLENECKS = (50, 101)
"""Depths whose blocks are bottlenecks, with a quarter of the channels inside."""


@keras.saving.register_keras_serializable(package="mmstream_image")
class Resnet(GridEncoder):
    """A residual network; the cells of the last grid, at 1/32 of the picture's resolution, are the tokens.

    The stem halves the resolution twice, and each stage but the first once. For small pictures (under 128 pixels) there
    is `stem: small`, a 3 x 3 convolution of stride 1, with which the grid has 1/8 of the picture's resolution.

    Source: He et al., "Deep residual learning for image recognition" (2016), with the stride in the 3 x 3 convolution
    of a bottleneck, and shortcuts of 2 x 2 mean pooling as in He, T., et al., "Bag of tricks for image classification"
    (2019).

    Args:
        width: D.
        depth: the number of layers, which determines the number and kind of blocks.
        stem: "large" is a 7 x 7 convolution and 3 x 3 max pooling, both of stride 2; "small" is described above.
        filters: of the first stage; each later stage has twice as many as the one before, and bottlenecks output four
            times as many.
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
        super().__init__(width, dropout, **kwargs)
        self.depth = depth
        self.stem = stem
        self.filters = filters
        policy = self.dtype_policy
        size, strides = (7, 2) if stem == "large" else (3, 1)
        self.first = _Convolution(filters, size, strides, name="first", dtype=policy)
        self.pool = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="pool", dtype=policy)
        kind = _Bottleneck if depth in BOTTLENECKS else _Basic
        self.add_blocks(
            [
                kind(filters * 2**stage, 2 if stage and not index else 1, name=f"block_{stage}_{index}", dtype=policy)
                for stage, count in enumerate(STAGES[depth])
                for index in range(count)
            ]
        )

    def stem_shape(self, pixels_shape: Any) -> Any:
        """Build the stem: a convolution, and pooling after a large one."""
        self.first.build(pixels_shape)
        shape = self.first.compute_output_shape(pixels_shape)
        return self.pool.compute_output_shape(shape) if self.stem == "large" else shape

    def stem_grid(self, pixels: Any, training: bool | None) -> Any:
        """Apply the stem: a convolution, and pooling after a large one."""
        grid = ops.relu(self.first(pixels, training=training))
        return self.pool(grid) if self.stem == "large" else grid


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
    """Convolutions with a shortcut. The last normalisation starts at zero, so that the block starts as the identity."""

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
        for index, convolution in enumerate(self.convolutions):
            inner = convolution(ops.relu(inner) if index else inner, training=training)
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
