"""Layers around heads that write: what they generate, of which the nearest may be taken, and what they draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


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
            {"ids": int32[B, L], "score": float32[B], "match": float32[B]}, the cosine, just 0 where the record lies
            nowhere.
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
