"""Alignment of fields in the shared space, each pair of embeddings judged by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream_align.pairs import PairwiseObjective, add_log_scale, mean, scale_of


@keras.saving.register_keras_serializable(package="mmstream_align")
class SigmoidContrastive(PairwiseObjective):
    """In a batch, each pair of embeddings of two fields is told to be of one record or not; small batches suffice.

    L = 1/n Σ_i Σ_j log(1 + exp(−z_ij (s · u_i v_jᵀ + b))) over the n records that have both fields, with unit vectors
    u and v, z_ij = 1 for i = j and −1 else; the scale s is learnt from 1 / `temperature`, at most 100, and b from
    `bias`. Records that lack one of the two fields neither count nor stand as candidates. Of more than two fields, each
    pair is aligned with the same s and b, and the mean taken.

    Source: Zhai et al., "Sigmoid loss for language image pre-training" (2023); the limit of s is ours.

    Args:
        fields: whose embeddings are aligned; two or more.
        temperature: at the start.
        bias: at the start; far below zero, as nearly all pairs of a batch are wrong.
    """

    def __init__(
        self,
        *,
        fields: Annotated[list[str], annotated_types.MinLen(2)],
        temperature: Annotated[float, annotated_types.Gt(0)] = 0.1,
        bias: float = -10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, **kwargs)
        self.temperature = temperature
        self.bias = bias

    def build(self, tensors_shape: Any) -> None:
        """Make the scale, as its logarithm, and the bias."""
        self.log_scale = add_log_scale(self, self.temperature)
        initial = keras.initializers.Constant(self.bias)
        self.learnt_bias = self.add_weight(shape=(), initializer=initial, name="bias", dtype="float32", autocast=False)

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → float32 scalar."""
        scale = scale_of(self.log_scale)
        losses = []
        for u, v, both in self.pairs(tensors):
            logits = scale * ops.matmul(u, ops.transpose(v)) + self.learnt_bias
            sign = 2.0 * ops.diag(ops.ones_like(both)) - 1.0
            each = ops.where(ops.outer(both, both) > 0, ops.softplus(-sign * logits), 0.0)
            losses.append(ops.sum(each) / ops.maximum(ops.sum(both), 1.0))
        return mean(losses)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "temperature": self.temperature, "bias": self.bias}
