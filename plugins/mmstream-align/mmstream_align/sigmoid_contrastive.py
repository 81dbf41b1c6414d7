"""Alignment of fields in the shared space, with each pair of embeddings classified on its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream_align.pairs import Fields, PairwiseObjective, Temperature, mean


@keras.saving.register_keras_serializable(package="mmstream_align")
class SigmoidContrastive(PairwiseObjective):
    """Classifies whether two fields' embeddings are of one record, for each pair in a batch; small batches suffice.

    L = 1/n Σ_i Σ_j log(1 + exp(−z_ij (s · u_i v_jᵀ + b))) over the n records that have both fields, with unit vectors
    u and v, z_ij = 1 for i = j and −1 otherwise; the scale s is learnt, starts at 1 / `temperature`, and is at most
    100; b is learnt and starts at `bias`. Records that lack one of the two fields do not count and are not candidates.
    With more than two fields, all pairs of fields share s and b, and the loss is their mean.

    Source: Zhai et al., "Sigmoid loss for language image pre-training" (2023); the limit of s is ours.

    Args:
        fields: whose embeddings are aligned; two or more.
        temperature: its initial value.
        bias: the initial value of b; far below zero, as nearly all pairs in a batch are negatives.
    """

    def __init__(
        self,
        *,
        fields: Fields,
        temperature: Temperature = 0.1,
        bias: float = -10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, temperature, **kwargs)
        self.bias = bias

    def build(self, tensors_shape: Any) -> None:
        """Make the scale, as its logarithm, and the bias."""
        super().build(tensors_shape)
        self.learnt_bias = self.add_scalar("bias", keras.initializers.Constant(self.bias))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → float32 scalar."""
        scale = self.scale()
        losses = []
        for u, v, both in self.pairs(tensors):
            logits = scale * ops.matmul(u, ops.transpose(v)) + self.learnt_bias
            sign = 2.0 * ops.diag(ops.ones_like(both)) - 1.0
            each = ops.where(ops.outer(both, both) > 0, ops.softplus(-sign * logits), 0.0)
            losses.append(ops.sum(each) / ops.maximum(ops.sum(both), 1.0))
        return mean(losses)
