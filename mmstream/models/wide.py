"""Linear models of features beside the deep network: what a head predicts is the weighted sum of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from mmstream.interfaces import Field
from mmstream.models.configured import ConfiguredLayer
from mmstream.models.plan import Plan

_ADDED_TO = {"string": "logits", "strings": "logits", "number": "values", "numbers": "values"}
"""The prediction of a head that linear models are added to, by the type of its labels."""
NO_EFFECT = (
    "model.wide has no effect: no head that predicts classes, tags or numbers reads a field with features for linear "
    "models; a text field has such features if `ngrams` is set, for example `ngrams: 20000`"
)
_FIXED = ".fixed"
_LENGTH = 5.0
"""The length to which the features from fixed layers are scaled, so that the penalties that are tried suit them."""
_LARGEST_KERNEL = 50_000_000
"""A field whose kernel would hold more numbers is left out: the model would be hundreds of megabytes larger."""


@keras.saving.register_keras_serializable(package="mmstream")
class Wide(ConfiguredLayer):
    """y = g · deep y + Σ_f W_f x_f + b, over the fields whose features x_f are there.

    y are the logits of classes or tags, or numbers in the scale of their field. Gradients train none of these weights:
    they begin with g = 1 and all others 0, and `mmstream.training.wide` fits them when the deep network is trained.

    Source: Cheng et al., "Wide & deep learning" (2016).

    Args:
        features: {name of a set of features, see `features_of`: F, how many there are}.
        outputs: K, how many logits or numbers there are.
    """

    def __init__(self, features: Mapping[str, int], outputs: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.features = dict(features)
        self.outputs = outputs

    def build(self, deep_shape: Any, features_shape: Any) -> None:
        """Make the weights; row 0 of a kernel belongs to no feature, and stays zero."""

        def weight(name: str, *shape: int, initializer: str = "zeros") -> Any:
            return self.add_weight(shape=shape, initializer=initializer, trainable=False, name=name)

        self.kernels = {
            name: weight(f"kernel_{name}", count + 1, self.outputs) for name, count in self.features.items()
        }
        self.bias = weight("bias", self.outputs)
        self.scale = weight("scale", initializer="ones")

    def call(self, deep: Any, features: Mapping[str, Mapping[str, Any]]) -> Any:
        """Add the linear models.

        Args:
            deep: float[B, K], what the deep network predicts.
            features: {name: {"present": float32[B], and either "ids": int[B] or int[B, M], numbers from 1 on, and 0
                for none, with "weights": float[B, M] if these are not all 1; or "dense": number[B, F]}}.
        """
        total = self.scale * ops.cast(deep, "float32") + self.bias
        for name in sorted(self.features):
            total += ops.expand_dims(features[name]["present"], -1) * self._linear(self.kernels[name], features[name])
        return total

    def _linear(self, kernel: Any, features: Mapping[str, Any]) -> Any:
        """float32[B, K]: the sum of the rows of the features."""
        if "dense" in features:
            return ops.matmul(ops.cast(features["dense"], "float32"), kernel[1:])
        ids = features["ids"]
        rows = ops.take(kernel, ops.expand_dims(ids, 1) if len(ids.shape) == 1 else ids, axis=0)
        if "weights" not in features:
            return ops.sum(rows, axis=1)
        return ops.squeeze(ops.matmul(ops.expand_dims(ops.cast(features["weights"], "float32"), 1), rows), 1)


@keras.saving.register_keras_serializable(package="mmstream")
class Direction(ConfiguredLayer):
    """The mean of a field's valid vectors, all of one length, which suits the penalties of linear models."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, vectors_shape: Any, valid_shape: Any = None) -> None:
        """Do nothing: there are no weights."""

    def call(self, vectors: Any, valid: Any = None) -> Any:
        """Vectors float[B, T, F], and which are valid, float[B, T] or None for all → float32[B, F]."""
        vectors = ops.cast(vectors, "float32")
        if valid is not None:
            vectors *= ops.expand_dims(ops.cast(valid, "float32"), -1)
        total = ops.sum(vectors, axis=1)
        norm = ops.sqrt(ops.sum(ops.square(total), axis=-1, keepdims=True))
        return _LENGTH * total / ops.maximum(norm, 1e-9)


def added_to(head: Any) -> str:
    """The name of the prediction that linear models are added to; "" for a head that writes texts."""
    return "" if head.autoregressive else _ADDED_TO[head.label_type]


def linear_models(
    plan: Plan,
    heads: Mapping[str, Any],
    predictions: Mapping[str, Mapping[str, Any]],
    fixed: Mapping[str, Mapping[str, Any]],
) -> dict[str, Wide]:
    """The linear models of each head that reads fields with features; {} without `model.wide`.

    Args:
        plan: of the network.
        heads: the layer of each head.
        predictions: those of each head.
        fixed: {field: what layers give whose weights never change}, which are features, too.
    """
    layers = {}
    for name, part in plan.config.model.heads.items() if plan.config.model.wide else ():
        prediction = added_to(heads[name])
        if prediction not in predictions[name]:
            continue
        outputs = predictions[name][prediction].shape[-1]
        counts = {}
        for field in plan.config.reads(part):
            own = plan.field(field)
            if field in fixed:
                counts[f"{field}{_FIXED}"] = _vectors(fixed[field]).shape[-1]
            if field not in fixed or not own.media:  # what was learnt from many pictures says more than their colours
                counts[field] = own.count_linear_features(plan.fitted[field])
        counts = {features: count for features, count in counts.items() if 0 < count * outputs <= _LARGEST_KERNEL}
        if counts:
            layers[name] = Wide(counts, outputs, name=f"wide_{name}")
    return layers


def features_of(
    layers: Iterable[Wide],
    fields: Mapping[str, Field],
    inputs: Mapping[str, Mapping[str, Any]],
    fixed: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """What some linear models read: {field: its own features; field + ".fixed": what its fixed layers give}.

    Args:
        layers: the linear models.
        fields: the fields.
        inputs: the tensors of the fields.
        fixed: {field: what layers give whose weights never change}.
    """
    features: dict[str, dict[str, Any]] = {}
    for name in sorted({name for layer in layers for name in layer.features}):
        field = name.removesuffix(_FIXED)
        if field == name:
            features[name] = {**fields[name].linear_features(inputs[name])}
        else:
            given = fixed[field]
            features[name] = {"dense": Direction(name=f"direction_{field}")(_vectors(given), given.get("mask"))}
        features[name]["present"] = inputs[field]["present"]
    return features


def _vectors(given: Mapping[str, Any]) -> Any:
    """float[B, T, F]: the vectors of a backbone, or the tokens of an encoder."""
    return given["vectors"] if "vectors" in given else given["tokens"]
