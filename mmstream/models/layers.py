"""The layers between plugins: pooling, the shared space, and hiding fields in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mmstream")
class SharedSpace(keras.layers.Layer):
    """Pools tokens and maps them into the space that all fields share: f_shared(f_field(mean of tokens)), both affine.

    One layer serves all fields: `f_field` is theirs alone, `f_shared` is common. An absent field lies at zero.

    Source: the joint embedding of Wang et al., "Learning two-branch neural networks" (2017), in its affine form.
    """

    def __init__(self, width: int, fields: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.fields = sorted(fields)
        self.field_maps = {name: keras.layers.Dense(width, name=f"field_{name}") for name in self.fields}
        self.shared_map = keras.layers.Dense(width, name="shared")

    def build(self, readings_shape: Mapping[str, Any]) -> None:
        """Build every map for tokens [B, T, D]."""
        for name in self.fields:
            self.field_maps[name].build((None, readings_shape[name]["tokens"][-1]))
        self.shared_map.build((None, self.width))

    def call(self, readings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """{field: {"tokens" [B, T, D], "mask" [B, T], "present" [B]}} → {field: float[B, D]}."""
        embeddings = {}
        for name in self.fields:
            tokens, mask = readings[name]["tokens"], readings[name]["mask"]
            weight = ops.expand_dims(ops.cast(mask, tokens.dtype), -1)
            count = ops.maximum(ops.sum(weight, 1), 1)
            pooled = ops.sum(ops.where(weight > 0, tokens, 0) * weight, 1) / count
            vector = self.shared_map(self.field_maps[name](pooled))
            present = ops.expand_dims(ops.cast(readings[name]["present"], vector.dtype), -1)
            embeddings[name] = ops.where(present > 0, vector, 0)
        return embeddings


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
            return {name: ops.identity(present[name]) for name in names}
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
class Generation(keras.layers.Layer):
    """What a forced head generates, as a layer of its own on the head's weights.

    Keras 3.15 does not compose a layer that is called twice with different sets of outputs.
    """

    def __init__(self, head: Any, **kwargs: Any) -> None:
        super().__init__(**{"name": head.name, "dtype": head.dtype_policy, **kwargs})
        self.head = head

    def build(self, reading_shape: Mapping[str, Any]) -> None:
        """Build the head, unless training has."""
        if not self.head.built:
            self.head.build(reading_shape)

    def call(self, reading: Mapping[str, Any]) -> dict[str, Any]:
        """A reading → {"ids": int32[B, L], "score": float32[B]}."""
        return self.head.generate(reading)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "head": keras.saving.serialize_keras_object(self.head)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Generation:
        """The inverse of `get_config`."""
        return cls(**{**config, "head": keras.saving.deserialize_keras_object(config["head"])})
