"""The layers between plugins: pooling, the shared space, and hiding fields in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mmstream")
class PoolTokens(keras.layers.Layer):
    """The mean of the tokens that count, through a field's own affine map: f_field.

    Args:
        width: D.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.projection = keras.layers.Dense(width, name="projection", dtype=self.dtype_policy)

    def build(self, tokens_shape: Any, counted_shape: Any) -> None:
        """Build for tokens [B, T, D]."""
        self.projection.build((None, tokens_shape[-1]))

    def call(self, tokens: Any, counted: Any) -> Any:
        """Tokens float[B, T, D] and their mask float[B, T] (an argument named `mask` would be Keras' own) → [B, D]."""
        weight = ops.expand_dims(ops.cast(counted, tokens.dtype), -1)
        count = ops.maximum(ops.sum(weight, 1), 1)
        return self.projection(ops.sum(ops.where(weight > 0, tokens, 0) * weight, 1) / count)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="mmstream")
class ZeroAbsent(keras.layers.Layer):
    """A vector, or zero where its field is absent."""

    def build(self, vector_shape: Any, present_shape: Any) -> None:
        """Has no weights."""

    def call(self, vector: Any, present: Any) -> Any:
        """float[B, D], float[B] → float[B, D]."""
        return ops.where(ops.expand_dims(present, -1) > 0, vector, 0)


@keras.saving.register_keras_serializable(package="mmstream")
class ModalityDropout(keras.layers.Layer):
    """In training, hides each field of a record with probability `rate`, but never all that it has.

    Args:
        rate: probability, 0 to 1.
        seed: of the random numbers.

    Source: Neverova et al., "ModDrop" (2015).
    """

    def __init__(self, rate: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, present_shape: Any) -> None:
        """Has no weights."""

    def call(self, present: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{field: float32[B]} → {field: float32[B]}."""
        names = sorted(present)
        if not training or self.rate == 0:
            return dict(present)
        stacked = ops.stack([present[name] for name in names], axis=1)
        drawn = keras.random.uniform(ops.shape(stacked), seed=self.seed_generator)
        kept = ops.where(drawn >= self.rate, stacked, 0.0)
        kept = ops.where(ops.sum(kept, 1, keepdims=True) > 0, kept, stacked)
        return {name: kept[:, index] for index, name in enumerate(names)}


@keras.saving.register_keras_serializable(package="mmstream")
class JoinReadings(keras.layers.Layer):
    """The tokens of several fields in a row, an absent field's masked out, and whether any field is present."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def build(self, readings_shape: Any) -> None:
        """Has no weights."""

    def call(self, readings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """{field: {"tokens", "mask", "present"}} → {"tokens" [B, ΣT, D], "mask" [B, ΣT], "present" [B]}."""
        names = sorted(readings)
        masks = []
        for name in names:
            mask = readings[name]["mask"]
            masks.append(mask * ops.expand_dims(ops.cast(readings[name]["present"], mask.dtype), -1))
        present = ops.stack([readings[name]["present"] for name in names], axis=1)
        return {
            "tokens": ops.concatenate([readings[name]["tokens"] for name in names], axis=1),
            "mask": ops.concatenate(masks, axis=1),
            "present": ops.max(present, axis=1),
        }


@keras.saving.register_keras_serializable(package="mmstream")
class FillIn(keras.layers.Layer):
    """In place of each absent field what was made of the others, as one token and as its vector."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def build(self, readings_shape: Any, made_shape: Any) -> None:
        """Has no weights."""

    def call(self, readings: Mapping[str, Mapping[str, Any]], made: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Readings, and what was made of some of their fields.

        Args:
            readings: {field: {"tokens", "mask", "vector", "present"}}.
            made: {field: float[B, D]}; fields that are not in it stay as they are.

        Returns:
            readings, "present" being 1 where any of the fields is that was made something of.
        """
        others = ops.max(ops.stack([readings[name]["present"] for name in readings if name in made]), axis=0)
        return {n: _filled(r, made[n], others) if n in made else dict(r) for n, r in readings.items()}

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        config.pop("autocast", None)
        return config


def _filled(reading: Mapping[str, Any], made: Any, others: Any) -> dict[str, Any]:
    """A reading, or where it is absent and others are not, what was made in its place."""
    tokens, mask, there = reading["tokens"], reading["mask"], reading["present"] > 0
    made = ops.cast(made, tokens.dtype)
    first = ops.cast(ops.arange(mask.shape[1]) == 0, mask.dtype)
    return {
        "tokens": ops.where(there[:, None, None], tokens, ops.expand_dims(made, 1)),
        "mask": ops.where(there[:, None], mask, first),
        "vector": ops.where(there[:, None], reading["vector"], made),
        "present": ops.where(there, reading["present"], others),
    }
