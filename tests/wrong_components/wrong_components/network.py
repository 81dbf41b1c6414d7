"""Parts of networks, sound and wrong."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

serialisable = keras.saving.register_keras_serializable(package="wrong_components")


@serialisable
class Sound(keras.layers.Layer):
    """Each place of a series of numbers is a token, padded with zeros."""

    def __init__(self, width: int, *, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.scale = width, scale
        self.projection = keras.layers.Dense(width, name="projection", dtype=self.dtype_policy)

    @classmethod
    def sizes(cls, spec: Any, fitted: Any) -> dict[str, int]:
        return {}

    def build(self, tensors_shape: Any) -> None:
        self.projection.build((None, None, 1))

    def call(self, tensors: Any, training: bool | None = None) -> dict[str, Any]:
        series = ops.cast(tensors["series"], self.compute_dtype)
        tokens = self.projection(ops.expand_dims(series * self.scale, -1))
        return {"tokens": tokens, "mask": ops.cast(series != 0, self.compute_dtype)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "scale": self.scale}


@serialisable
class Forgetful(Sound):
    """Its config lacks the scale."""

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["scale"]
        return config


@serialisable
class Unnamed(Sound):
    """Keras numbers its sublayer."""

    def __init__(self, width: int, *, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(width, scale=scale, **kwargs)
        self.projection = keras.layers.Dense(width, dtype=self.dtype_policy)


@serialisable
class Mingling(Sound):
    """Each record's tokens depend on the batch."""

    def call(self, tensors: Any, training: bool | None = None) -> dict[str, Any]:
        found = super().call(tensors, training)
        return {**found, "tokens": found["tokens"] - ops.mean(found["tokens"], axis=0, keepdims=True)}


@serialisable
class Overlong(Sound):
    """Padding counts."""

    def call(self, tensors: Any, training: bool | None = None) -> dict[str, Any]:
        found = super().call(tensors, training)
        return {**found, "tokens": found["tokens"] - ops.mean(found["tokens"], axis=1, keepdims=True)}


@serialisable
class Narrow(Sound):
    """One half of the shared width."""

    def call(self, tensors: Any, training: bool | None = None) -> dict[str, Any]:
        found = super().call(tensors, training)
        return {**found, "tokens": found["tokens"][..., : self.width // 2]}


@keras.saving.register_keras_serializable(package="somebody_else")
class Stranger(Sound):
    """Registered under another name than its distribution's, and a parameter says nothing of itself."""

    def __init__(self, width: int, *, scale=1.0, **kwargs: Any) -> None:  # type: ignore[no-untyped-def]
        super().__init__(width, scale=scale, **kwargs)


@serialisable
class SoundFusion(keras.layers.Layer):
    """The mean of the tokens of present fields, and of their vectors."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width

    def build(self, readings_shape: Any) -> None:
        self.gain = self.add_weight(shape=(self.width,), initializer="ones", name="gain")

    def call(self, readings: Any, training: bool | None = None) -> Any:
        return self.gain * sum(self.pooled(reading) for _, reading in sorted(readings.items()))

    def pooled(self, reading: Any) -> Any:
        there = ops.expand_dims(reading["present"] > 0, -1)
        tokens = ops.where(ops.expand_dims(reading["mask"] > 0, -1), reading["tokens"], 0)
        return ops.where(there, reading["vector"] + ops.mean(tokens, axis=1), 0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


@serialisable
class LeakyFusion(SoundFusion):
    """Multiplies by `present`, and 0 x NaN is NaN."""

    def pooled(self, reading: Any) -> Any:
        tokens = ops.where(ops.expand_dims(reading["mask"] > 0, -1), reading["tokens"], 0)
        return (reading["vector"] + ops.mean(tokens, axis=1)) * ops.expand_dims(reading["present"], -1)


@serialisable
class UnmaskedFusion(SoundFusion):
    """Reads tokens that are masked."""

    def pooled(self, reading: Any) -> Any:
        there = ops.expand_dims(reading["present"] > 0, -1)
        return ops.where(there, reading["vector"] + ops.mean(reading["tokens"], axis=1), 0)


@serialisable
class EmptyFusion(SoundFusion):
    """Divides by the number of present fields."""

    def call(self, readings: Any, training: bool | None = None) -> Any:
        count = sum(reading["present"] for reading in readings.values())
        return super().call(readings, training) / ops.expand_dims(count, -1)


@serialisable
class SoundHead(keras.layers.Layer):
    """Predicts the sum of a series of numbers."""

    autoregressive = False
    label_type = score_type = "number"
    metric = "near"
    progress_metric = "error"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.logits = keras.layers.Dense(1, name="logits", dtype="float32")

    @classmethod
    def sizes(cls, spec: Any, fitted: Any) -> dict[str, int]:
        return {}

    def build(self, reading_shape: Any, target_shape: Any = None) -> None:
        self.logits.build(reading_shape["vector"])

    def call(self, reading: Any, target: Any = None, training: bool | None = None) -> dict[str, Any]:
        return {"logits": self.logits(reading["vector"])}

    def target_mask(self, target: Any) -> Any:
        return target["present"]

    def loss(self, predictions: Any, target: Any) -> Any:
        return ops.square(self.progress(predictions, target))

    def progress(self, predictions: Any, target: Any) -> Any:
        return ops.abs(predictions["logits"][:, 0] - ops.sum(target["series"], axis=1))

    def calibrate(self, predictions: Any, target: Any) -> dict[str, Any]:
        return {}

    def decode(self, predictions: Any, fitted: Any, calibration: Any) -> list[tuple[Any, Any]]:
        return [(float(value), 1.0) for value in predictions["logits"][:, 0]]

    def evaluate(self, outcome: Any) -> dict[str, float]:
        if not len(outcome.rows):
            return {}
        errors = np.abs(outcome.predictions[:, 0] - outcome.targets[:, 0])
        return {"mae": float(errors.mean()), "near": float((errors < 1).mean())}


@serialisable
class EagerHead(SoundHead):
    """Learns from what is unknown."""

    def target_mask(self, target: Any) -> Any:
        return ops.ones_like(target["present"])


@serialisable
class HalfHead(SoundHead):
    """Its logits have the precision of the network."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.logits = keras.layers.Dense(1, name="logits", dtype=self.dtype_policy)


@serialisable
class InfiniteHead(SoundHead):
    """Its loss has no end where there is no target."""

    def loss(self, predictions: Any, target: Any) -> Any:
        return super().loss(predictions, target) / ops.sum(ops.abs(target["series"]), axis=1)


@serialisable
class NumpyHead(SoundHead):
    """Its labels are not plain Python."""

    def decode(self, predictions: Any, fitted: Any, calibration: Any) -> list[tuple[Any, Any]]:
        return [(value, 1.0) for value in predictions["logits"][:, 0]]


@serialisable
class SoundObjective(keras.layers.Layer):
    """Draws two embeddings together."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def needs(self) -> list[str]:
        return ["embeddings.a", "embeddings.b", "present.a", "present.b"]

    def build(self, tensors_shape: Any) -> None:
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale", dtype="float32", autocast=False)

    def call(self, tensors: Any, training: bool | None = None) -> Any:
        both = tensors["present.a"] * tensors["present.b"]
        gap = ops.cast(tensors["embeddings.a"], "float32") - ops.cast(tensors["embeddings.b"], "float32")
        return self.scale * ops.sum(both * ops.sum(ops.square(gap), axis=1)) / self.count(both)

    def count(self, both: Any) -> Any:
        return ops.maximum(ops.sum(both), 1.0)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("autocast", None)
        return config


@serialisable
class DividingObjective(SoundObjective):
    """Divides by the number of records."""

    def count(self, both: Any) -> Any:
        return ops.sum(both)


@serialisable
class BuiltLateObjective(SoundObjective):
    """Makes a weight of a size that the first batch has, which training does not know when it is built."""

    def build(self, tensors_shape: Any) -> None:
        super().build(tensors_shape)
        rows = tensors_shape["embeddings.a"][0]
        self.map = self.add_weight(shape=(rows,), initializer="ones", name="map")
