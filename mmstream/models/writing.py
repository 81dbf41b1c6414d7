"""Layers around autoregressive heads: generated, reranked and sampled texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream.models.configured import ConfiguredLayer


@keras.saving.register_keras_serializable(package="mmstream")
class Generation(keras.layers.Layer):
    """Generates with an autoregressive head, as a separate layer on the head's weights.

    It is separate because Keras 3.15 cannot compose a layer that is called twice with different sets of outputs.
    """

    def __init__(self, head: Any, **kwargs: Any) -> None:
        super().__init__(**{"name": head.name, "dtype": head.dtype_policy, **kwargs})
        self.head = head

    def build(self, reading_shape: Mapping[str, Any]) -> None:
        """Build the head, unless the training network has built it."""
        if not self.head.built:
            self.head.build(reading_shape)

    def call(self, reading: Mapping[str, Any]) -> dict[str, Any]:
        """A reading → {"ids": int32[B, L], "score": float32[B]}."""
        return self.head.generate(reading)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "head": keras.saving.serialize_keras_object(self.head)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Generation:
        """The inverse of `get_config`."""
        return cls(**{**config, "head": keras.saving.deserialize_keras_object(config["head"])})


@keras.saving.register_keras_serializable(package="mmstream")
class Candidates(Generation):
    """Writes several texts for each record with an autoregressive head, as if each were for a record of its own.

    Args:
        head: the head.
        count: N, how many texts to write.
    """

    def __init__(self, head: Any, count: int, **kwargs: Any) -> None:
        super().__init__(head, **kwargs)
        self.count = count

    def call(self, reading: Mapping[str, Any]) -> dict[str, Any]:
        """A reading → {"ids": int64[B · N, L], "score": float32[B · N]}."""
        texts = self.head.candidates(reading, self.count)
        ids = ops.cast(texts["ids"], "int64")
        return {"ids": ops.reshape(ids, (-1, ids.shape[-1])), "score": ops.reshape(texts["score"], (-1,))}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable(package="mmstream")
class Nearest(ConfiguredLayer):
    """Reranks several texts of each record: takes the one whose vector has the largest cosine with the record's.

    Where the record has no vector, because its field is absent, the first text is taken.

    Args:
        count: N, how many texts each record has.
    """

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})
        self.count = count

    def build(self, texts_shape: Any, vectors_shape: Any, wanted_shape: Any) -> None:
        """Do nothing: there are no weights."""

    def call(self, texts: Mapping[str, Any], vectors: Any, wanted: Any) -> dict[str, Any]:
        """Rerank the texts.

        Args:
            texts: as `Candidates` gives them.
            vectors: the vectors of the texts, float[B · N, D].
            wanted: the vector of each record, float[B, D]. (Saved networks contain this name, for `build`.)

        Returns:
            {"ids": int32[B, L], "score": float32[B], "match": float32[B]}; `match` is the cosine, exactly 0 if the
            record has no vector.
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


class Sampling(keras.layers.Layer):
    """Samples a text from an autoregressive head, with gradients passing through; outside training, the likeliest text.

    Only the training network contains it.

    Args:
        head: the head.
        seed: the seed of the random numbers.
    """

    def __init__(self, head: Any, seed: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": head.dtype_policy, **kwargs})
        self.head = head
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, reading_shape: Mapping[str, Any]) -> None:
        """Do nothing: the head is built already."""

    def call(self, reading: Mapping[str, Any], training: bool | None = None) -> Any:
        """A reading → float32[B, L, R], one-hot over all R ids."""
        return self.head.sample(reading, self.seed_generator if training else None)
