"""Late fusion: the sum of what the fields say one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
    """fused = Σ_f g_f v_f over the fields that are present, with one gate g_f for each field.

    A head that is affine, as those of classes, tags and numbers are, gives the sum of the logits that it gives for each
    field alone, weighed by the gates: late fusion. Use it with `model.auxiliary`, which trains these logits.

    The gates are 1 in training, and are then fitted to the validation split, where a field that was merely learnt by
    heart is of no use: its gate closes.

    Source: Wolpert, "Stacked generalization" (1992), for weights that are fitted to other data than the models.

    Args:
        width: D.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width

    def build(self, readings_shape: Mapping[str, Any]) -> None:
        """Build for vectors [B, D]."""
        self.gates = self.add_weight(
            shape=(len(readings_shape),), initializer="ones", trainable=False, autocast=False, name="gates"
        )

    def call(self, readings: Mapping[str, Reading], training: bool | None = None) -> Any:
        """{field: reading} → float[B, D]."""
        fused: Any = 0
        for n, name in enumerate(sorted(readings)):
            vector = readings[name]["vector"]
            present = ops.expand_dims(readings[name]["present"] > 0, -1)
            fused += ops.where(present, ops.cast(self.gates[n], vector.dtype) * vector, 0)
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
