"""Late fusion: the sum of what the fields say one by one, and of what only all of them together say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import annotated_types
import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize

from mmstream.interfaces import Reading
from mmstream.models.configured import ConfiguredLayer

_DEVIATION = 0.5
"""The standard deviation of a gate around 1 that is expected before any data are seen."""
_LARGEST_GATE = 3.0


@keras.saving.register_keras_serializable(package="mmstream_fusion")
class Late(ConfiguredLayer):
    """fused = Σ_f g_f v_f + g u, over the fields that are present: a gate for each field, and one for the joint part u.

    A head that is affine, as those of classes, tags and numbers are, gives the sum of the logits that it gives for each
    field alone, weighed by the gates: late fusion. Use it with `model.auxiliary`, which trains these logits. The joint
    part is a hidden layer over all vectors, for what no field says alone, such as the answer to a question about a
    picture; it begins at zero, and a record with a single field has none.

    The gates are 1 in training, and are then fitted to the validation split, where a field that was merely learnt by
    heart is of no use: its gate closes.

    Source: Wolpert, "Stacked generalization" (1992), for weights that are fitted to other data than the models; Cheng
    et al., "Wide & deep learning" (2016), for the sum of a linear part and a deep one.

    Args:
        width: D.
        units: of the hidden layer of the joint part; 0 for none.
        dropout: share of the hidden layer that is dropped in training.
    """

    def __init__(
        self,
        width: int,
        *,
        units: Annotated[int, annotated_types.Ge(0)] = 128,
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.units = units
        self.dropout = dropout

    def build(self, readings_shape: Mapping[str, Any]) -> None:
        """Build for vectors [B, D]."""
        fields, policy = len(readings_shape), self.dtype_policy
        gates = fields + (self.units > 0)
        self.gates = self.add_weight(shape=(gates,), initializer="ones", trainable=False, autocast=False, name="gates")
        if self.units:
            columns = sum(shapes["vector"][-1] + 1 for shapes in readings_shape.values())
            self.hidden = keras.layers.Dense(self.units, activation="relu", name="hidden", dtype=policy)
            self.hidden.build((None, columns))
            self.drop = keras.layers.Dropout(self.dropout, name="dropout", dtype=policy)
            self.joint = keras.layers.Dense(self.width, kernel_initializer="zeros", name="joint", dtype=policy)
            self.joint.build((None, self.units))

    def call(self, readings: Mapping[str, Reading], training: bool | None = None) -> Any:
        """{field: reading} → float[B, D]."""
        pieces: list[Any] = []
        there: list[Any] = []
        for name in sorted(readings):
            vector = readings[name]["vector"]
            there.append(ops.expand_dims(ops.cast(readings[name]["present"] > 0, vector.dtype), -1))
            pieces.append(ops.where(there[-1] > 0, vector, 0))
        gates = ops.cast(self.gates, pieces[0].dtype)
        fused = sum(gates[n] * piece for n, piece in enumerate(pieces))
        if self.units:
            hidden = self.drop(self.hidden(ops.concatenate([*pieces, *there], axis=-1)), training=training)
            several = ops.cast(sum(there) > 1, fused.dtype)
            fused += gates[-1] * several * self.joint(hidden)
        return fused

    def calibrate(self, loss: Callable[[], float], count: int) -> None:
        """Fit the gates: the most likely ones, given the validation split and that gates are usually near 1.

        Args:
            loss: the mean loss of the validation split, with the gates as they are now.
            count: the number of its examples.
        """

        def negative_log_posterior(gates: np.ndarray) -> float:
            self.gates.assign(gates)
            return count * loss() + float(np.square((gates - 1) / _DEVIATION).sum()) / 2

        start = np.ones(self.gates.shape)
        bounds = [(0.0, _LARGEST_GATE)] * len(start)
        best = minimize(negative_log_posterior, start, method="Powell", bounds=bounds, options={"maxiter": 20})
        better = best.fun < negative_log_posterior(start)
        self.gates.assign(best.x if better else start)
