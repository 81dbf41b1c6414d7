"""Shared by all alignment objectives: pairs of fields, unit vectors, and a learnt scale of cosines."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import annotated_types
import keras
import numpy as np
from keras import ops

from mmstream.models.configured import ConfiguredLayer

Fields = Annotated[list[str], annotated_types.MinLen(2)]
Temperature = Annotated[float, annotated_types.Gt(0)]

_LARGEST_SCALE = 100.0


class PairwiseObjective(ConfiguredLayer):
    """The base of objectives over all pairs of fields; computes in float32 whatever the precision.

    Args:
        fields: whose embeddings are aligned; two or more.
        temperature: its initial value, for the cosines; its inverse, the scale, is learnt, and is at most 100.
    """

    def __init__(self, fields: Sequence[str], temperature: float, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if len(set(fields)) < len(fields):
            raise ValueError(
                f"fields: name each field once, as a field is aligned with others; found {', '.join(fields)}"
            )
        self.fields = list(fields)
        self.temperature = temperature

    def build(self, tensors_shape: Any) -> None:
        """Make the scale, as its logarithm."""
        initial = keras.initializers.Constant(-float(np.log(self.temperature)))
        self.log_scale = self.add_scalar("log_scale", initial)

    def add_scalar(self, name: str, initial: Any) -> Any:
        """A weight that is one number, float32 whatever the precision."""
        return self.add_weight(shape=(), initializer=initial, name=name, dtype="float32", autocast=False)

    def scale(self) -> Any:
        """The factor that cosines are multiplied by: at most 100, as in the source of `contrastive`."""
        return ops.minimum(ops.exp(self.log_scale), _LARGEST_SCALE)

    def needs(self) -> list[str]:
        """The embeddings of each field, and which of them are present."""
        return [f"{kind}.{field}" for field in self.fields for kind in ("embeddings", "present")]

    def pairs(self, tensors: Mapping[str, Any]) -> list[tuple[Any, Any, Any]]:
        """{"embeddings.<field>": float[B, D], "present.<field>": float32[B], …} → (u, v, both) of each pair of fields.

        u and v are float32[B, D], the unit vectors of the two; `both` is float32[B], 1 where a record has both fields.
        """
        pairs = []
        for one, other in itertools.combinations(self.fields, 2):
            u, v = (unit(tensors[f"embeddings.{name}"]) for name in (one, other))
            pairs.append((u, v, tensors[f"present.{one}"] * tensors[f"present.{other}"]))
        return pairs


def unit(vectors: Any) -> Any:
    """float[B, D] → float32[B, D] of length 1; vectors shorter than Keras' epsilon get no gradient.

    The values are those of `ops.normalize`, whose gradient at zero is not finite, or too large by 1 / epsilon.
    """
    vectors = ops.cast(vectors, "float32")
    squared = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    long = squared > keras.config.epsilon() ** 2
    inverse = ops.where(long, ops.rsqrt(ops.where(long, squared, 1.0)), 1.0 / keras.config.epsilon())
    return ops.where(long, vectors, ops.stop_gradient(vectors)) * inverse


def mean(losses: Sequence[Any]) -> Any:
    """The mean of float32 scalars, one for each pair of fields."""
    return ops.mean(ops.stack(losses))
