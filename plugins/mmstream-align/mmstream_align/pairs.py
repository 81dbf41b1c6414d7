"""What all objectives here share: pairs of fields, who has both, unit vectors, and a learnt scale of cosines."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

_LARGEST_SCALE = 100.0


class PairwiseObjective(keras.layers.Layer):
    """What an objective between each two of several fields is made from; it computes in float32 whatever the precision.

    Args:
        fields: whose embeddings are aligned; two or more.
    """

    def __init__(self, fields: Sequence[str], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if len(set(fields)) < len(fields):
            raise ValueError(f"fields: a field is aligned with others, not with itself; found {', '.join(fields)}")
        self.fields = list(fields)

    def needs(self) -> list[str]:
        """Embeddings, and which are present."""
        return [f"{kind}.{field}" for field in self.fields for kind in ("embeddings", "present")]

    def pairs(self, tensors: Mapping[str, Any]) -> list[tuple[Any, Any, Any]]:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → (u, v, both) of each pair of fields.

        u and v are float32[B, D], the unit vectors of the two; `both` is float32[B], 1 where a record has both fields.
        """
        found = []
        for one, other in itertools.combinations(self.fields, 2):
            u, v = (unit(tensors[f"embeddings.{name}"]) for name in (one, other))
            found.append((u, v, tensors[f"present.{one}"] * tensors[f"present.{other}"]))
        return found

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        config.pop("autocast", None)
        return {**config, "fields": self.fields}


def unit(vectors: Any) -> Any:
    """float[B, D] → float32[B, D] of length 1; what is shorter than Keras' epsilon has no direction and no gradient.

    The numbers are those of `ops.normalize`, but its gradient at zero is not finite, or too large by 1 / epsilon.
    """
    vectors = ops.cast(vectors, "float32")
    squared = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    long = squared > keras.config.epsilon() ** 2
    inverse = ops.where(long, ops.rsqrt(ops.where(long, squared, 1.0)), 1.0 / keras.config.epsilon())
    return ops.where(long, vectors, ops.stop_gradient(vectors)) * inverse


def add_log_scale(layer: keras.layers.Layer, temperature: float) -> Any:
    """The weight whose exponential multiplies cosines: float32 scalar, 1 / `temperature` at the start."""
    initial = keras.initializers.Constant(-float(np.log(temperature)))
    return layer.add_weight(shape=(), initializer=initial, name="log_scale", dtype="float32", autocast=False)


def scale_of(log_scale: Any) -> Any:
    """What multiplies cosines: at most 100, as the source of `contrastive` has it."""
    return ops.minimum(ops.exp(log_scale), _LARGEST_SCALE)


def mean(losses: Sequence[Any]) -> Any:
    """Float32 scalars, one a pair of fields → float32 scalar."""
    return ops.mean(ops.stack(losses))
