"""A transformer encoder of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import Fitted, Spec
from mmstream.models.transformer import TransformerEncoder

Count = Annotated[int, annotated_types.Ge(1)]


@keras.saving.register_keras_serializable(package="mmstream_image")
class Vit(TransformerEncoder):
    """A vision transformer: square patches of the picture are tokens that attend to each other.

    A patch becomes a token by an affine map of its pixels and the learnt embedding of its position. There is no class
    token: mmstream pools the tokens.

    Source: Dosovitskiy et al., "An image is worth 16 x 16 words" (2021).

    Args:
        width: D.
        height: of the pictures, H.
        picture_width: of the pictures, W.
        patch: side of a patch, which divides both H and W.
        units: of a token within the encoder, a multiple of `heads`.
        layers: transformer blocks.
        heads: of each block's attention.
        dropout: share that is dropped in training, of the input tokens and of what each block adds.
    """

    def __init__(
        self,
        width: int,
        height: int,
        picture_width: int,
        *,
        patch: Count = 8,
        units: Count = 128,
        layers: Count = 4,
        heads: Count = 4,
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, units=units, layers=layers, heads=heads, dropout=dropout, **kwargs)
        if height % patch or picture_width % patch:
            raise ValueError(
                f"patch must divide the size of the pictures; found {patch} and {height} x {picture_width}"
            )
        self.height = height
        self.picture_width = picture_width
        self.patch = patch
        self.patches = keras.layers.Conv2D(units, patch, strides=patch, name="patches", dtype=self.dtype_policy)
        self.add_stack((height // patch) * (picture_width // patch))

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """Height and width of the pictures, which determine how many patches there are."""
        height, width, _ = spec["pixels"].shape
        return {"height": height, "picture_width": width}

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"pixels": [B, H, W, 3]}."""
        self.patches.build(tensors_shape["pixels"])
        self.build_stack()

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"pixels": uint8[B, H, W, 3]} → tokens float[B, T, D], all of them valid; T = H · W / patch²."""
        grid = self.patches(ops.cast(tensors["pixels"], self.compute_dtype) / 127.5 - 1.0)
        tokens = ops.reshape(grid, (-1, self.stack.length, self.units))
        return self.encode(tokens, ops.ones_like(tokens[:, :, 0]), training)
