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


@keras.saving.register_keras_serializable(package="mmstream")
class Candidates(Generation):
    """Several texts that a forced head writes about each record, side by side as if they were records.

    Args:
        head: that writes.
        count: N, how many.
    """

    def __init__(self, head: Any, count: int, **kwargs: Any) -> None:
        super().__init__(head, **kwargs)
        self.count = count

    def call(self, reading: Mapping[str, Any]) -> dict[str, Any]:
        """A reading → {"ids": int64[B · N, L], "score": float32[B · N]}."""
        found = self.head.candidates(reading, self.count)
        ids = ops.cast(found["ids"], "int64")
        return {"ids": ops.reshape(ids, (-1, ids.shape[-1])), "score": ops.reshape(found["score"], (-1,))}

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable(package="mmstream")
class Nearest(keras.layers.Layer):
    """Of several texts about each record the one that lies nearest, by cosine, to where the record lies.

    Where the record lies nowhere, its field being absent, the first one.

    Args:
        count: N, how many there are.
    """

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})
        self.count = count

    def build(self, texts_shape: Any, vectors_shape: Any, wanted_shape: Any) -> None:
        """Has no weights."""

    def call(self, texts: Mapping[str, Any], vectors: Any, wanted: Any) -> dict[str, Any]:
        """The texts as `Candidates` gives them, their vectors float[B · N, D], and float[B, D] that they are to fit.

        Returns:
            {"ids": int32[B, L], "score": float32[B], "match": float32[B]}, the cosine.
        """
        vectors = ops.reshape(vectors, (-1, self.count, vectors.shape[-1]))
        vectors, wanted = (ops.normalize(ops.cast(each, "float32"), axis=-1) for each in (vectors, wanted))
        similarity = ops.matmul(vectors, ops.expand_dims(wanted, -1))[:, :, 0]
        best = ops.expand_dims(ops.argmax(similarity, axis=1), 1)
        ids = ops.reshape(texts["ids"], (-1, self.count, texts["ids"].shape[-1]))
        score = ops.reshape(texts["score"], (-1, self.count))
        return {
            "ids": ops.cast(ops.take_along_axis(ids, ops.expand_dims(best, -1), axis=1)[:, 0], "int32"),
            "score": ops.take_along_axis(score, best, axis=1)[:, 0],
            "match": ops.take_along_axis(similarity, best, axis=1)[:, 0],
        }

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        config.pop("autocast", None)
        return {**config, "count": self.count}


class Drawing(keras.layers.Layer):
    """A text that a forced head draws, through which gradients pass; the likeliest one outside training.

    Only the network that is trained holds it.

    Args:
        head: whose text it is.
        seed: of the random numbers.
    """

    def __init__(self, head: Any, seed: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": head.dtype_policy, **kwargs})
        self.head = head
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, reading_shape: Mapping[str, Any]) -> None:
        """The head was built before."""

    def call(self, reading: Mapping[str, Any], training: bool | None = None) -> Any:
        """A reading → float32[B, L, R], one-hot over all R ids."""
        return self.head.draw(reading, self.seed_generator if training else None)
