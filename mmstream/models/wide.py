"""Linear models of sparse features beside the deep network: what a head predicts is the weighted sum of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mmstream.models.configured import ConfiguredLayer


@keras.saving.register_keras_serializable(package="mmstream")
class Wide(ConfiguredLayer):
    """logits = g · deep logits + Σ_f g_f (W_f x_f + b_f) + c, over the fields whose sparse features x_f are there.

    Gradients train none of these weights. They begin with g = 1 and all others 0, and are fitted when the deep network
    is trained: W_f and b_f in closed form to the training split, the gates and c to the validation split.

    Source: Cheng et al., "Wide & deep learning" (2016), for the sum; Wolpert, "Stacked generalization" (1992), for
    gates that are fitted to other data.

    Args:
        features: {field: F, how many features there are}.
        outputs: K, the number of logits.
    """

    def __init__(self, features: Mapping[str, int], outputs: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.features = dict(features)
        self.outputs = outputs

    def build(self, logits_shape: Any, features_shape: Any) -> None:
        """Make the weights; row 0 of a kernel belongs to no feature, and stays zero."""

        def weight(name: str, *shape: int) -> Any:
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        self.kernels = {
            name: weight(f"kernel_{name}", count + 1, self.outputs) for name, count in self.features.items()
        }
        self.biases = {name: weight(f"bias_{name}", self.outputs) for name in self.features}
        self.gates = self.add_weight(
            shape=(len(self.features) + 2,), initializer=_deep_alone, trainable=False, name="gates"
        )

    def call(self, logits: Any, features: Mapping[str, Mapping[str, Any]]) -> Any:
        """Add the linear models.

        Args:
            logits: float[B, K], those of the deep network.
            features: {field: {"ids": int[B, M], numbers from 1 on, and 0 for none; "weights": float[B, M]; "present":
                float32[B]}}.
        """
        total = self.gates[0] * ops.cast(logits, "float32") + self.gates[1]
        for n, name in enumerate(sorted(self.features)):
            each = features[name]
            weights = ops.expand_dims(ops.cast(each["weights"], "float32"), 1)
            linear = ops.squeeze(ops.matmul(weights, ops.take(self.kernels[name], each["ids"], axis=0)), 1)
            present = ops.expand_dims(each["present"], -1)
            total += self.gates[n + 2] * present * (linear + self.biases[name])
        return total


def _deep_alone(shape: Sequence[int], dtype: Any = None) -> Any:
    return ops.cast(ops.arange(shape[0]) == 0, dtype)
