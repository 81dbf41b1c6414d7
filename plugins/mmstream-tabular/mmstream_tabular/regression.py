"""A head that predicts numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import annotated_types
import keras
import numpy as np
from keras import ops
from sklearn import metrics

from mmstream.interfaces import Fitted, LabelType, Numbers, Outcome, Reading, Spec
from mmstream.models.configured import ConfiguredLayer

_LEAST, _MOST = -7.0, 7.0
"""Bounds of the logarithm of a standard deviation, in the scale of the field."""


@keras.saving.register_keras_serializable(package="mmstream_tabular")
class Regression(ConfiguredLayer):
    """Predicts a `number`: its value and, as the score, the expected error, in the number's own unit (lower is better).

    The value is trained with the Huber loss. The error is a standard deviation, trained with the Gaussian likelihood of
    the residual, which does not influence the value; it is calibrated on the validation split, so that it is right on
    average. A field of several columns gives a list of values and a list of scores.

    Source: Huber, "Robust estimation of a location parameter" (1964); Nix and Weigend, "Estimating the mean and
    variance of the target probability distribution" (1994).

    Args:
        outputs: N, how many numbers the field has.
        dropout: share of the vector that is dropped in training.
        huber: residuals beyond this, in the field's scale, count linearly.
    """

    autoregressive: ClassVar[bool] = False
    metric: ClassVar[str] = "r2"
    progress_metric: ClassVar[str] = "absolute_error"

    def __init__(
        self,
        outputs: int,
        *,
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.1,
        huber: Annotated[float, annotated_types.Gt(0)] = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.outputs = outputs
        self.dropout = dropout
        self.huber = huber
        kind: LabelType = "number" if outputs == 1 else "numbers"
        self.label_type = self.score_type = kind
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy)
        self.value = keras.layers.Dense(outputs, name="value", dtype="float32")
        # Starts at zero: a deviation that is small by chance would make the first losses huge.
        self.deviation = keras.layers.Dense(outputs, kernel_initializer="zeros", name="deviation", dtype="float32")

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """As many outputs as the field has numbers."""
        return {"outputs": spec["values"].shape[0]}

    def build(self, reading_shape: Mapping[str, Any], target_shape: Any = None) -> None:
        """Build for a vector [B, D]."""
        self.value.build(reading_shape["vector"])
        self.deviation.build(reading_shape["vector"])

    def call(self, reading: Reading, target: Any = None, training: bool | None = None) -> dict[str, Any]:
        """A reading → {"values": float32[B, N], "deviations": float32[B, N], logarithms}, in the field's scale."""
        vector = self.drop(reading["vector"], training=training)
        return {
            "values": self.value(vector),
            "deviations": ops.clip(self.deviation(ops.stop_gradient(vector)), _LEAST, _MOST),
        }

    def target_mask(self, target: Mapping[str, Any]) -> Any:
        """float32[B]: 0 where no number is known."""
        return ops.max(target["known"], axis=-1)

    def loss(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """float32[B]: the mean over the known numbers of a record."""
        residual = predictions["values"] - target["values"]
        size = ops.abs(residual)
        huber = ops.where(size <= self.huber, 0.5 * size * size, self.huber * (size - 0.5 * self.huber))
        deviation = predictions["deviations"]
        likelihood = deviation + 0.5 * ops.square(ops.stop_gradient(residual)) * ops.exp(-2 * deviation)
        return _mean_of_known(huber + likelihood, target)

    def progress(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """float32[B]: the mean absolute error of a record's known numbers, in the scale of the field."""
        return _mean_of_known(ops.abs(predictions["values"] - target["values"]), target)

    def calibrate(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
        """{"stretch": N factors that make the expected errors right on average}."""
        mask = target["known"] > 0
        ratio = (predictions["values"] - target["values"]) / np.exp(predictions["deviations"])
        squares = [np.square(ratio[mask[:, n], n].astype(np.float64)) for n in range(self.outputs)]
        return {"stretch": [float(np.sqrt(square.mean())) if square.size else 1.0 for square in squares]}

    def decode(
        self, predictions: Mapping[str, Any], fitted: Fitted, calibration: Mapping[str, Any]
    ) -> list[tuple[Any, Any]]:
        """Values and expected errors, in the number's own unit."""
        offset, factor = (np.array(fitted.statistics[name]) for name in ("offset", "factor"))
        values = offset + factor * predictions["values"].astype(np.float64)
        errors = factor * np.array(calibration["stretch"]) * np.exp(predictions["deviations"].astype(np.float64))
        if self.outputs == 1:
            return list(zip(values[:, 0].tolist(), errors[:, 0].tolist(), strict=True))
        return list(zip(values.tolist(), errors.tolist(), strict=True))

    def serve(self, predictions: Mapping[str, Any], fitted: Fitted, calibration: Mapping[str, Any]) -> tuple[Any, Any]:
        """As `decode`: float32[B] twice, or float32[B, N]."""
        import tensorflow as tf

        offset, factor = (tf.constant(fitted.statistics[name]) for name in ("offset", "factor"))
        values = offset + factor * predictions["values"]
        errors = factor * tf.constant(calibration["stretch"]) * tf.exp(predictions["deviations"])
        return (values[:, 0], errors[:, 0]) if self.outputs == 1 else (values, errors)

    def evaluate(self, outcome: Outcome) -> dict[str, float]:
        """Mean absolute error and R² in the unit of the records, each a mean over the columns; {} without rows."""
        if not isinstance(outcome, Numbers):
            return {}
        by_metric: dict[str, list[float]] = {"mae": [], "r2": []}
        for targets, predictions in zip(outcome.targets.T, outcome.predictions.T, strict=True):
            mask = ~np.isnan(targets)
            if mask.any():
                by_metric["mae"].append(metrics.mean_absolute_error(targets[mask], predictions[mask]))
            if mask.sum() > 1:
                by_metric["r2"].append(metrics.r2_score(targets[mask], predictions[mask]))
        return {name: float(np.mean(values)) for name, values in by_metric.items() if values}


def _mean_of_known(each: Any, target: Mapping[str, Any]) -> Any:
    """float32[B, N] → float32[B]; 0 where no number is known."""
    return ops.sum(each * target["known"], axis=-1) / ops.maximum(ops.sum(target["known"], axis=-1), 1.0)
