"""Weights of a deep network and of linear models in the sum that a head predicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize

from mmstream.evaluation.outcomes import TrainedHead, metrics_of, outcome_of
from mmstream.models.wide import added_to

_SHARES = (0.5, 0.25, 0.1, 0)
"""The smaller weights of the deep network that are tried for tags, as shares of the likeliest one."""
_LEAST_GAIN = 0.002
"""A smaller weight must improve the metric by more than this: with the likeliest one, probabilities are the truest."""


@dataclasses.dataclass(frozen=True)
class _Expected:
    """What is known of a weight before any data are seen.

    Attributes:
        mean: of the weight.
        deviation: its standard deviation.
        least: its lower bound.
        most: its upper bound.
    """

    mean: float
    deviation: float
    least: float
    most: float


_OF_LOGITS = {
    "deep": _Expected(1, 0.5, 0, 3),
    "offset": _Expected(0, 5, -10, 10),
    "linear": _Expected(0, 10, 0, 30),  # a linear model predicts about 0 or 1, which makes small logits
}
_OF_NUMBERS = {"deep": _Expected(1, 0.5, 0, 3), "offset": _Expected(0, 1, -3, 3), "linear": _Expected(0, 1, 0, 3)}


@dataclasses.dataclass(frozen=True)
class Stack:
    """The weighted sum of a deep network and linear models, on the validation split.

    Its weights are those of the deep network, of an offset, and of each linear model.

    Attributes:
        head: the head whose predictions are added up, with what was fitted to its target.
        deep: the predictions of the deep network, {prediction: float[N, …]}.
        linear: float[N, K], the outputs of each linear model.
        target: of the target field, {tensor: [N, …]} and "given", object[N].
    """

    head: TrainedHead
    deep: Mapping[str, np.ndarray]
    linear: Sequence[np.ndarray]
    target: Mapping[str, Any]

    def weights(self) -> np.ndarray:
        """The likeliest weights. For tags, the deep network may get a smaller weight, with which tags are ranked best.

        The likelihood of tags is that of many absent ones. It favours the model that knows how rare each tag is, even
        if other models rank the records better.
        """
        best = self._likeliest()
        if self.head.layer.label_type != "strings" or not best[0]:
            return best
        others = [self._beside(share * best[0], best) for share in _SHARES]
        metrics = [self._metric(weights) for weights in others]
        if max(metrics) <= self._metric(best) + _LEAST_GAIN:
            return best
        return others[int(np.argmax(metrics))]

    def _likeliest(self) -> np.ndarray:
        """The likeliest weights, given the validation split."""
        mean, deviation = self._expected
        others = np.where(np.arange(len(mean)) > 1, 0.3 * deviation, mean)
        found = [self._found(start, ()) for start in (mean, others)]
        return min(found, key=lambda each: each.fun).x

    def _beside(self, deep: float, best: np.ndarray) -> np.ndarray:
        """The likeliest weights beside a given one of the deep network, searched for from the best weights of all."""
        return np.array([deep, *self._found(best[1:], (deep,)).x])

    def _found(self, start: np.ndarray, given: Sequence[float]) -> Any:
        """The result of `scipy.optimize.minimize` for the weights after the given ones."""
        mean, deviation = (each[len(given) :] for each in self._expected)

        def negative_log_posterior(weights: np.ndarray) -> float:
            prior = float(np.square((weights - mean) / deviation).sum()) / 2
            return self._loss(self._predictions([*given, *weights])) + prior

        bounds = [(each.least, each.most) for each in self._kinds[len(given) :]]
        return minimize(negative_log_posterior, start, method="Powell", bounds=bounds)

    @property
    def _kinds(self) -> list[_Expected]:
        """What is known of each weight."""
        expected = _OF_NUMBERS if self._prediction == "values" else _OF_LOGITS
        return [expected[kind] for kind in ("deep", "offset", *("linear" for _ in self.linear))]

    @property
    def _expected(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean and the standard deviation of each weight."""
        return np.array([each.mean for each in self._kinds]), np.array([each.deviation for each in self._kinds])

    @property
    def _prediction(self) -> str:
        return added_to(self.head.layer)

    def _predictions(self, weights: Sequence[float] | np.ndarray) -> dict[str, Any]:
        total = weights[0] * self.deep[self._prediction] + weights[1]
        for weight, outputs in zip(weights[2:], self.linear, strict=True):
            total = total + weight * outputs
        return {**self.deep, self._prediction: total.astype(np.float32)}

    def _loss(self, predictions: Mapping[str, Any]) -> float:
        if self._prediction == "values":
            return _of_numbers(predictions, self.target)
        return _of_logits(self.head.layer, predictions, self.target)

    def _metric(self, weights: np.ndarray) -> float:
        """The main metric of the head; 0 if it is not defined, as no record has a target."""
        predictions = self._predictions(weights)
        calibrated = dataclasses.replace(self.head, calibration=self.head.layer.calibrate(predictions, self.target))
        return metrics_of(self.head.layer, outcome_of(calibrated, predictions, self.target)).get(
            self.head.layer.metric, 0.0
        )


def _of_logits(head: Any, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> float:
    """The negative logarithm of the likelihood of classes or tags: the sum of the losses."""
    return float(ops.convert_to_numpy(ops.sum(head.loss(predictions, target) * head.target_mask(target))))


def _of_numbers(predictions: Mapping[str, Any], target: Mapping[str, Any]) -> float:
    """The same of numbers, for normal errors whose standard deviation is not known, up to a constant."""
    known = target["known"] > 0
    residuals = (ops.convert_to_numpy(predictions["values"]) - target["values"])[known]
    return len(residuals) / 2 * float(np.log(np.square(residuals).mean() + keras.config.epsilon()))
