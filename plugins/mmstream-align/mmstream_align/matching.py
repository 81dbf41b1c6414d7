"""Alignment of fields in the shared space by true pairs and those that nearly are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream_align.pairs import PairwiseObjective, add_log_scale, mean, scale_of

_SAME = 2e-4
"""Unit vectors nearer than this, by squared distance, are of the same thing: a cosine above 1 − 1e-4."""
_NEVER = -2.0
"""Below every cosine."""


@keras.saving.register_keras_serializable(package="mmstream_align")
class Matching(PairwiseObjective):
    """Whether two embeddings are of one record, learnt from true pairs and the wrong ones that look most right.

    L = mean over pairs of log(1 + exp(∓ (s · u vᵀ + b))), where − is for each record's own pair (u_i, v_i), and + for
    two that are wrong: u_i with the most similar wrong v, and v_i with the most similar wrong u. u and v are unit
    vectors; the scale s is learnt from 1 / `temperature`, at most 100, and b from 0.

    A record is no wrong partner of another if it lacks one of the two fields, or if they agree in one of them, as two
    records with the same text do: a cosine above 1 − 1e-4. The most similar has the largest cosine; the choice has no
    gradient. Where a record has no wrong partner, only its own pair counts. Of more than two fields, each pair is
    aligned with the same s and b, and the mean taken.

    Source: image-text matching of Li et al., "Align before fuse" (2021). There, a transformer judges a pair, beside a
    contrastive loss; it is the cosine here, since a judge that may take for right what does not agree learns to: to
    drive a record's own pair further apart than any wrong one is enough to tell it from the most similar. There, wrong
    partners are drawn by their similarity; the hardest is chosen here.

    Args:
        fields: whose embeddings are aligned; two or more.
        temperature: at the start.
    """

    def __init__(
        self,
        *,
        fields: Annotated[list[str], annotated_types.MinLen(2)],
        temperature: Annotated[float, annotated_types.Gt(0)] = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, **kwargs)
        self.temperature = temperature

    def build(self, tensors_shape: Any) -> None:
        """Make the scale, as its logarithm, and the bias."""
        self.log_scale = add_log_scale(self, self.temperature)
        self.bias = self.add_weight(shape=(), initializer="zeros", name="bias", dtype="float32", autocast=False)

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → float32 scalar."""
        return mean([self.between(u, v, both) for u, v, both in self.pairs(tensors)])

    def between(self, u: Any, v: Any, both: Any) -> Any:
        """The mean over the pairs that count, at most three a record: (u, v, both) of two fields → float32 scalar."""
        wrong = ops.cast(wrong_partners(u, v, both), "float32")
        cosines = ops.matmul(u, ops.transpose(v))
        similar = ops.where(wrong > 0, cosines, _NEVER)
        hardest = [ops.max(similar, axis=axis) for axis in (1, 0)]
        logits = scale_of(self.log_scale) * ops.concatenate([ops.diagonal(cosines), *hardest]) + self.bias
        counts = ops.concatenate([both, ops.max(wrong, axis=1), ops.max(wrong, axis=0)])
        right = ops.concatenate([ops.ones_like(both), ops.zeros_like(both), ops.zeros_like(both)])
        each = ops.softplus(ops.where(right > 0, -logits, logits))
        return ops.sum(ops.where(counts > 0, each, 0.0)) / ops.maximum(ops.sum(counts), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "temperature": self.temperature}


def wrong_partners(u: Any, v: Any, both: Any) -> Any:
    """Which pairs (u_i, v_j) are surely wrong: (u, v, both) of two fields → bool[B, B], symmetric."""
    differ = ops.logical_and(_squared_distances(u) > _SAME, _squared_distances(v) > _SAME)
    return ops.logical_and(ops.outer(both, both) > 0, differ)


def _squared_distances(x: Any) -> Any:
    """float32[B, D] → float32[B, B]. All lengths come from one product, so that it may be rounded, as on a GPU."""
    products = ops.matmul(x, ops.transpose(x))
    squared = ops.diagonal(products)
    return ops.expand_dims(squared, 0) + ops.expand_dims(squared, 1) - 2.0 * products
