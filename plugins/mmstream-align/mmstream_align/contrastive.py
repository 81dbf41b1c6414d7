"""Contrastive alignment of fields in the shared space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream_align.pairs import Fields, PairwiseObjective, Temperature, mean

_NEVER = -1e9


@keras.saving.register_keras_serializable(package="mmstream_align")
class Contrastive(PairwiseObjective):
    """Symmetric InfoNCE: each field's embedding must identify its record among the other field's embeddings in a batch.

    L = mean over records of (CE(s · u vᵀ) + CE(s · v uᵀ)) / 2 with unit vectors u and v; the scale s is learnt, starts
    at 1 / `temperature`, and is at most 100. Records that lack one of the two fields do not count and are not
    candidates.
    With more than two fields, the loss is the mean over all pairs of fields.

    Source: Radford et al., "Learning transferable visual models from natural language supervision" (2021).

    Args:
        fields: whose embeddings are aligned; two or more.
        temperature: its initial value.
    """

    def __init__(self, *, fields: Fields, temperature: Temperature = 0.07, **kwargs: Any) -> None:
        super().__init__(fields, temperature, **kwargs)

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → float32 scalar."""
        scale = self.scale()
        losses = []
        for u, v, both in self.pairs(tensors):
            logits = scale * ops.matmul(u, ops.transpose(v))
            losses.append((_own(logits, both) + _own(ops.transpose(logits), both)) / 2)
        return mean(losses)


def _own(logits: Any, both: Any) -> Any:
    """Mean cross-entropy of the diagonal, among the columns of records that have both fields."""
    candidates = ops.where(ops.expand_dims(both, 0) > 0, logits, _NEVER)
    each = -ops.diagonal(ops.log_softmax(candidates, axis=-1))
    return ops.sum(ops.where(both > 0, each, 0.0)) / ops.maximum(ops.sum(both), 1.0)
