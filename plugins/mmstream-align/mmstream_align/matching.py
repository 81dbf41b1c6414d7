"""Alignment of fields in the shared space by hard negatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream_align.pairs import Fields, PairwiseObjective, Temperature, mean

_SAME = 2e-4
"""Unit vectors with a smaller squared distance count as equal: a cosine above 1 − 1e-4."""
_NEVER = -2.0
"""A value below every cosine."""


@keras.saving.register_keras_serializable(package="mmstream_align")
class Matching(PairwiseObjective):
    """Classifies whether two embeddings are of one record, from positive pairs and the hardest negatives.

    L = mean over pairs of log(1 + exp(∓ (s · u vᵀ + b))), where − is for each record's own pair (u_i, v_i), and + for
    two negatives: u_i with the most similar negative v, and v_i with the most similar negative u. u and v are unit
    vectors; the scale s is learnt, starts at 1 / `temperature`, and is at most 100; b is learnt and starts at 0.

    A record is not a negative for another if it lacks one of the two fields, or if the two records agree in one of
    them, with a cosine above 1 − 1e-4, as they do if they have the same text. The most similar is the one with the
    largest cosine; no gradient flows through the choice. If a record has no negative, only its own pair counts. With
    more than two fields, all pairs of fields share s and b, and the loss is their mean.

    Source: image-text matching of Li et al., "Align before fuse" (2021). There, a transformer classifies a pair, in
    addition to a contrastive loss; here the cosine does, because a classifier of any form can tell pairs apart by
    pushing positive ones further apart than all negatives. There, negatives are sampled by similarity; here, the
    hardest is taken.

    Args:
        fields: whose embeddings are aligned; two or more.
        temperature: its initial value.
    """

    def __init__(self, *, fields: Fields, temperature: Temperature = 0.1, **kwargs: Any) -> None:
        super().__init__(fields, temperature, **kwargs)

    def build(self, tensors_shape: Any) -> None:
        """Make the scale, as its logarithm, and the bias."""
        super().build(tensors_shape)
        self.bias = self.add_scalar("bias", "zeros")

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → float32 scalar."""
        return mean([self.between(u, v, both) for u, v, both in self.pairs(tensors)])

    def between(self, u: Any, v: Any, both: Any) -> Any:
        """The mean loss of the pairs, at most three for each record: (u, v, both) of two fields → float32 scalar."""
        negative = ops.cast(negatives(u, v, both), "float32")
        cosines = ops.matmul(u, ops.transpose(v))
        similar = ops.where(negative > 0, cosines, _NEVER)
        hardest = [ops.max(similar, axis=axis) for axis in (1, 0)]
        logits = self.scale() * ops.concatenate([ops.diagonal(cosines), *hardest]) + self.bias
        counts = ops.concatenate([both, ops.max(negative, axis=1), ops.max(negative, axis=0)])
        positive = ops.concatenate([ops.ones_like(both), ops.zeros_like(both), ops.zeros_like(both)])
        each = ops.softplus(ops.where(positive > 0, -logits, logits))
        return ops.sum(ops.where(counts > 0, each, 0.0)) / ops.maximum(ops.sum(counts), 1.0)


def negatives(u: Any, v: Any, both: Any) -> Any:
    """Which pairs (u_i, v_j) are certainly negatives: (u, v, both) of two fields → bool[B, B], symmetric."""
    differ = ops.logical_and(_squared_distances(u) > _SAME, _squared_distances(v) > _SAME)
    return ops.logical_and(ops.outer(both, both) > 0, differ)


def _squared_distances(x: Any) -> Any:
    """float32[B, D] → float32[B, B], all from one product, so that its rounding, such as a GPU's, does no harm."""
    products = ops.matmul(x, ops.transpose(x))
    squared = ops.diagonal(products)
    return ops.expand_dims(squared, 0) + ops.expand_dims(squared, 1) - 2.0 * products
