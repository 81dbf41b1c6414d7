"""Alignment of fields in the shared space by contrast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import annotated_types
import keras
from keras import ops

from mmstream_align.pairs import PairwiseObjective, add_log_scale, mean, scale_of

_NEVER = -1e9


@keras.saving.register_keras_serializable(package="mmstream_align")
class Contrastive(PairwiseObjective):
    """Symmetric InfoNCE: in a batch, each embedding of one field must find its own record's among the other field's.

    L = mean over records of (CE(s · u vᵀ) + CE(s · v uᵀ)) / 2 with unit vectors u and v; the scale s is learnt from
    1 / `temperature`, at most 100. Records that lack one of the two fields neither count nor stand as candidates.
    Of more than two fields, each pair is aligned, and the mean taken.

    Source: Radford et al., "Learning transferable visual models from natural language supervision" (2021).

    Args:
        fields: whose embeddings are aligned; two or more.
        temperature: at the start.
    """

    def __init__(
        self,
        *,
        fields: Annotated[list[str], annotated_types.MinLen(2)],
        temperature: Annotated[float, annotated_types.Gt(0)] = 0.07,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, **kwargs)
        self.temperature = temperature

    def build(self, tensors_shape: Any) -> None:
        """Make the scale, as its logarithm."""
        self.log_scale = add_log_scale(self, self.temperature)

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → float32 scalar."""
        scale = scale_of(self.log_scale)
        losses = []
        for u, v, both in self.pairs(tensors):
            logits = scale * ops.matmul(u, ops.transpose(v))
            losses.append((_own(logits, both) + _own(ops.transpose(logits), both)) / 2)
        return mean(losses)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "temperature": self.temperature}


def _own(logits: Any, both: Any) -> Any:
    """Mean cross-entropy of the diagonal among the columns that count."""
    candidates = ops.where(ops.expand_dims(both, 0) > 0, logits, _NEVER)
    each = -ops.diagonal(ops.log_softmax(candidates, axis=-1))
    return ops.sum(ops.where(both > 0, each, 0.0)) / ops.maximum(ops.sum(both), 1.0)
