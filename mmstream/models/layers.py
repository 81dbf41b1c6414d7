"""The layers between plugins: pooling, modality dropout, joining and imputing fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream.models.configured import ConfiguredLayer, ProjectedLayer


@keras.saving.register_keras_serializable(package="mmstream")
class PoolTokens(ProjectedLayer):
    """Averages a field's valid tokens, and maps the mean with the field's own affine map, f_field.

    Args:
        width: D.
    """

    def build(self, tokens_shape: Any, counted_shape: Any) -> None:
        """Build for tokens [B, T, D]."""
        self.projection.build((None, tokens_shape[-1]))

    def call(self, tokens: Any, counted: Any) -> Any:
        """Tokens float[B, T, D] and their mask float[B, T] (Keras reserves the name `mask`) → [B, D]."""
        weight = ops.expand_dims(ops.cast(counted, tokens.dtype), -1)
        count = ops.maximum(ops.sum(weight, 1), 1)
        return self.projection(ops.sum(ops.where(weight > 0, tokens, 0) * weight, 1) / count)


@keras.saving.register_keras_serializable(package="mmstream")
class ZeroAbsent(keras.layers.Layer):
    """Passes a vector on, or zero where its field is absent."""

    def build(self, vector_shape: Any, present_shape: Any) -> None:
        """Do nothing: there are no weights."""

    def call(self, vector: Any, present: Any) -> Any:
        """float[B, D], float[B] → float[B, D]."""
        return ops.where(ops.expand_dims(present, -1) > 0, vector, 0)


@keras.saving.register_keras_serializable(package="mmstream")
class ModalityDropout(keras.layers.Layer):
    """In training, hides each field of a record with probability `rate`, but never all that are present.

    Args:
        rate: the probability, 0 to 1.
        seed: the seed of the random numbers.

    Source: Neverova et al., "ModDrop" (2015).
    """

    def __init__(self, rate: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, present_shape: Any) -> None:
        """Do nothing: there are no weights."""

    def call(self, present: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{field: float32[B]} → {field: float32[B]}."""
        names = sorted(present)
        if not training or self.rate == 0:
            return dict(present)
        stacked = ops.stack([present[name] for name in names], axis=1)
        random = keras.random.uniform(ops.shape(stacked), seed=self.seed_generator)
        kept = ops.where(random >= self.rate, stacked, 0.0)
        kept = ops.where(ops.sum(kept, 1, keepdims=True) > 0, kept, stacked)
        return {name: kept[:, index] for index, name in enumerate(names)}


@keras.saving.register_keras_serializable(package="mmstream")
class JoinReadings(keras.layers.Layer):
    """Concatenates the tokens of several fields, with those of absent fields masked."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def build(self, readings_shape: Any) -> None:
        """Do nothing: there are no weights."""

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
class FillIn(ConfiguredLayer):
    """Puts an imputed embedding in the place of each absent field, as its only token and as its vector."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def build(self, readings_shape: Any, made_shape: Any) -> None:
        """Do nothing: there are no weights."""

    def call(self, readings: Mapping[str, Mapping[str, Any]], made: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Fill in the imputed embeddings.

        Args:
            readings: {field: {"tokens", "mask", "vector", "present"}}.
            made: imputed embeddings, {field: float[B, D]}; other fields stay as they are. (Saved networks contain
                the name of this argument, for `build`.)

        Returns:
            readings, with "present" 1 for all fields in `made` where at least one of them is present.
        """
        others = ops.max(ops.stack([readings[name]["present"] for name in readings if name in made]), axis=0)
        return {n: _filled(r, made[n], others) if n in made else dict(r) for n, r in readings.items()}


def _filled(reading: Mapping[str, Any], made: Any, others: Any) -> dict[str, Any]:
    """A reading, with the imputed embedding where its field is absent but others are present."""
    tokens, mask, present = reading["tokens"], reading["mask"], reading["present"] > 0
    made = ops.cast(made, tokens.dtype)
    first = ops.cast(ops.arange(mask.shape[1]) == 0, mask.dtype)
    return {
        "tokens": ops.where(present[:, None, None], tokens, ops.expand_dims(made, 1)),
        "mask": ops.where(present[:, None], mask, first),
        "vector": ops.where(present[:, None], reading["vector"], made),
        "present": ops.where(present, reading["present"], others),
    }
