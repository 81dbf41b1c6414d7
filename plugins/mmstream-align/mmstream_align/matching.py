"""Alignment of fields in the shared space by a classifier that tells true pairs from those that nearly are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream_align.pairs import PairwiseObjective, mean

_SAME = 2e-4
"""Unit vectors nearer than this, by squared distance, are of the same thing: a cosine above 1 − 1e-4."""
_NEVER = -2.0
"""Below every cosine."""


@keras.saving.register_keras_serializable(package="mmstream_align")
class Matching(PairwiseObjective):
    """A small classifier learns whether two embeddings are of one record, from the wrong pairs that look most right.

    L = mean over pairs of log(1 + exp(∓ p(u, v))), where − is for each record's own pair (u_i, v_i), and + for two that
    are wrong: u_i with the most similar wrong v, and v_i with the most similar wrong u. The classifier is
    p(u, v) = b + w · mean over d of relu(W [u_d, v_d, u_d v_d, |u_d − v_d|] + c), with vectors of length √D. All
    coordinates share W and w, because each coordinate of the shared space means the same for all fields; a classifier
    free to mix them tells the hardest pairs apart without bringing a record's own near.

    A record is no wrong partner of another if it lacks one of the two fields, or if they agree in one of them, as two
    records with the same text do: a cosine above 1 − 1e-4. The most similar has the largest cosine; the choice has no
    gradient. Where a record has no wrong partner, only its own pair counts. Of more than two fields, each pair is
    aligned by the same classifier, and the mean taken.

    Source: image-text matching of Li et al., "Align before fuse" (2021). There, a transformer stands in place of p, and
    wrong partners are drawn by their similarity; the hardest is chosen here.

    Args:
        fields: whose embeddings are aligned; two or more.
        hidden: units of the classifier, the rows of W.
    """

    def __init__(
        self,
        *,
        fields: Annotated[list[str], annotated_types.MinLen(2)],
        hidden: Annotated[int, annotated_types.Gt(0)] = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, **kwargs)
        self.hidden = hidden
        self.comparison = keras.layers.Dense(hidden, activation="relu", name="comparison", dtype="float32")
        self.verdict = keras.layers.Dense(1, name="verdict", dtype="float32")

    def build(self, tensors_shape: Any) -> None:
        """Build the classifier, whose weights do not depend on D."""
        self.comparison.build((None, None, 4))
        self.verdict.build((None, self.hidden))

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → float32 scalar."""
        return mean([self.between(u, v, both) for u, v, both in self.pairs(tensors)])

    def between(self, u: Any, v: Any, both: Any) -> Any:
        """The mean over the pairs that count, at most three a record: (u, v, both) of two fields → float32 scalar."""
        wrong = ops.cast(wrong_partners(u, v, both), "float32")
        similar = ops.where(wrong > 0, ops.matmul(u, ops.transpose(v)), _NEVER)
        hardest_v = ops.take(v, ops.argmax(similar, axis=1), axis=0)
        hardest_u = ops.take(u, ops.argmax(similar, axis=0), axis=0)
        logits = self.logits(ops.concatenate([u, u, hardest_u]), ops.concatenate([v, hardest_v, v]))
        counts = ops.concatenate([both, ops.max(wrong, axis=1), ops.max(wrong, axis=0)])
        right = ops.concatenate([ops.ones_like(both), ops.zeros_like(both), ops.zeros_like(both)])
        each = ops.softplus(ops.where(right > 0, -logits, logits))
        return ops.sum(ops.where(counts > 0, each, 0.0)) / ops.maximum(ops.sum(counts), 1.0)

    def logits(self, u: Any, v: Any) -> Any:
        """How sure it is that they are of one record: unit vectors float32[P, D], twice → float32[P]."""
        length = float(u.shape[-1]) ** 0.5  # so that a coordinate is about 1 in size, whatever D
        u, v = length * u, length * v
        compared = self.comparison(ops.stack([u, v, u * v, ops.abs(u - v)], axis=-1))
        return self.verdict(ops.mean(compared, axis=1))[:, 0]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "hidden": self.hidden}


def wrong_partners(u: Any, v: Any, both: Any) -> Any:
    """Which pairs (u_i, v_j) are surely wrong: (u, v, both) of two fields → bool[B, B], symmetric."""
    differ = ops.logical_and(_squared_distances(u) > _SAME, _squared_distances(v) > _SAME)
    return ops.logical_and(ops.outer(both, both) > 0, differ)


def _squared_distances(x: Any) -> Any:
    """float32[B, D] → float32[B, B]. All lengths come from one product, so that it may be rounded, as on a GPU."""
    products = ops.matmul(x, ops.transpose(x))
    squared = ops.diagonal(products)
    return ops.expand_dims(squared, 0) + ops.expand_dims(squared, 1) - 2.0 * products
