"""A convolutional encoder of pictures."""

from __future__ import annotations

from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream_image.grid_encoder import GridEncoder

Filters = Annotated[int, annotated_types.Ge(1)]


@keras.saving.register_keras_serializable(package="mmstream_image")
class Cnn(GridEncoder):
    """A stem and residual blocks, each halving the resolution; the cells of the last grid are the tokens.

    The stem is a 3 x 3 convolution of stride 2, batch normalisation and ReLU. A block is a 3 x 3 convolution, 2 x 2 max
    pooling, batch normalisation, ReLU, and another convolution and normalisation, with a parallel shortcut of 2 x 2
    mean pooling and a 1 x 1 convolution. Halving early leaves little work at full resolution, which is expensive on a
    CPU.

    Source: He et al., "Deep residual learning for image recognition" (2016); the shortcut is that of He, T., et al.,
    "Bag of tricks for image classification" (2019).

    Args:
        width: D.
        filters: of the stem and of each block.
        dropout: share of each token's channels that is dropped in training.
    """

    def __init__(
        self,
        width: int,
        *,
        filters: tuple[Filters, ...] = (32, 64, 128, 256),
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, dropout, **kwargs)
        self.filters = tuple(filters)
        policy = self.dtype_policy
        first, *rest = self.filters
        self.stem = keras.layers.Conv2D(first, 3, strides=2, padding="same", use_bias=False, name="stem", dtype=policy)
        self.stem_normalisation = _normalisation("stem_normalisation", policy)
        self.add_blocks([_Block(count, name=f"block_{n}", dtype=policy) for n, count in enumerate(rest)])

    def stem_shape(self, pixels_shape: Any) -> Any:
        """Build the stem: a convolution and its normalisation."""
        self.stem.build(pixels_shape)
        shape = self.stem.compute_output_shape(pixels_shape)
        self.stem_normalisation.build(shape)
        return shape

    def stem_grid(self, pixels: Any, training: bool | None) -> Any:
        """Apply the stem: a convolution and its normalisation."""
        return ops.relu(self.stem_normalisation(self.stem(pixels), training=training))


class _Block(keras.layers.Layer):
    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        policy = self.dtype_policy

        def convolution(name: str, size: int) -> keras.layers.Layer:
            return keras.layers.Conv2D(filters, size, padding="same", use_bias=False, name=name, dtype=policy)

        self.filters = filters
        self.convolution_0 = convolution("convolution_0", 3)
        self.pool = keras.layers.MaxPooling2D(2, padding="same", name="pool", dtype=policy)
        self.normalisation_0 = _normalisation("normalisation_0", policy)
        self.convolution_1 = convolution("convolution_1", 3)
        self.normalisation_1 = _normalisation("normalisation_1", policy)
        self.mean = keras.layers.AveragePooling2D(2, padding="same", name="mean", dtype=policy)
        self.shortcut = convolution("shortcut", 1)
        self.shortcut_normalisation = _normalisation("shortcut_normalisation", policy)

    def build(self, grid_shape: Any) -> None:
        halved = self.mean.compute_output_shape(grid_shape)
        outer = self.compute_output_shape(grid_shape)
        self.convolution_0.build(grid_shape)
        self.convolution_1.build(outer)
        self.shortcut.build(halved)
        for layer in (self.normalisation_0, self.normalisation_1, self.shortcut_normalisation):
            layer.build(outer)

    def compute_output_shape(self, grid_shape: Any) -> tuple[Any, ...]:
        return (*self.mean.compute_output_shape(grid_shape)[:-1], self.filters)

    def call(self, grid: Any, training: bool | None = None) -> Any:
        inner = ops.relu(self.normalisation_0(self.pool(self.convolution_0(grid)), training=training))
        inner = self.normalisation_1(self.convolution_1(inner), training=training)
        around = self.shortcut_normalisation(self.shortcut(self.mean(grid)), training=training)
        return ops.relu(inner + around)


def _normalisation(name: str, policy: Any) -> keras.layers.Layer:
    return keras.layers.BatchNormalization(momentum=0.9, name=name, dtype=policy)
