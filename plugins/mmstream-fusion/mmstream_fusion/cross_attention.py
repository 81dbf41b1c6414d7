"""Fusion by attention of each field's tokens to those of the others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream.interfaces import Reading
from mmstream.models.configured import ProjectedLayer
from mmstream.models.transformer import TransformerBlock

Count = Annotated[int, annotated_types.Ge(1)]


@keras.saving.register_keras_serializable(package="mmstream_fusion")
class CrossAttention(ProjectedLayer):
    """Each field's tokens attend to those of all others, `layers` times; the output is an affine map of their means.

    A field's tokens are its vector in the shared space and those of its encoder, each plus a learnt embedding of the
    field. Their means are concatenated; an absent field is masked, and its mean is zero.

    Source: Tsai et al., "Multimodal transformer for unaligned multimodal language sequences" (2019), here with all
    other fields at once as each field's memory.

    Args:
        width: D, a multiple of `heads`.
        layers: how often each field attends to the others.
        heads: of each block's attention.
        dropout: share of what each block adds that is dropped in training.
    """

    def __init__(
        self,
        width: int,
        *,
        layers: Count = 1,
        heads: Count = 4,
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, **kwargs)
        self.layers = layers
        self.heads = heads
        self.dropout = dropout

    def build(self, readings_shape: Mapping[str, Any]) -> None:
        """Build for tokens [B, T, D], where each field has its own T."""
        names = sorted(readings_shape)
        initial = keras.initializers.TruncatedNormal(stddev=0.02)
        self.marks = self.add_weight(shape=(len(names), self.width), initializer=initial, name="marks")
        self.blocks = {}  # flat: Keras does not save layers in nested containers
        for name, n in itertools.product(names, range(self.layers)):
            block = TransformerBlock(
                self.width, self.heads, dropout=self.dropout, name=f"{name}_{n}", dtype=self.dtype_policy
            )
            block.build((None, None, self.width))
            self.blocks[block.name] = block
        self.projection.build((None, len(names) * self.width))

    def call(self, readings: Mapping[str, Reading], training: bool | None = None) -> Any:
        """{field: reading} → float[B, D]."""
        names = sorted(readings)
        counted = {name: _counted(readings[name]) for name in names}
        tokens = {}
        for n, name in enumerate(names):
            own = [ops.expand_dims(readings[name]["vector"], 1), readings[name]["tokens"]]
            marked = ops.concatenate(own, axis=1) + ops.cast(self.marks[n], self.compute_dtype)
            tokens[name] = ops.where(counted[name][..., None] > 0, marked, 0)
        for n in range(self.layers):
            seen = dict(tokens)
            for name in names if len(names) > 1 else ():
                others = [other for other in names if other != name]
                memory = ops.concatenate([seen[other] for other in others], axis=1)
                memory_counted = ops.concatenate([counted[other] for other in others], axis=1)
                tokens[name] = self.blocks[f"{name}_{n}"](seen[name], memory_counted, memory, training=training)
        means = []
        for name in names:
            weight = counted[name][..., None]
            total = ops.sum(ops.where(weight > 0, tokens[name], 0) * weight, axis=1)
            means.append(total / ops.maximum(ops.sum(weight, axis=1), 1))
        return self.projection(ops.concatenate(means, axis=-1))


def _counted(reading: Reading) -> Any:
    """float[B, 1 + T]: the mask of the vector and the tokens; zero where the field is absent."""
    present = ops.expand_dims(ops.cast(reading["present"], reading["mask"].dtype), -1)
    return ops.concatenate([present, reading["mask"] * present], axis=1)
