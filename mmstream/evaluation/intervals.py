"""Confidence intervals by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

RESAMPLES = 200
CONFIDENCE = 0.95

Metrics = Callable[[np.ndarray], Mapping[str, float]]
"""Metrics of the records with these numbers, int[N], some of which may occur several times; {} if undefined."""


@runtime_checkable
class ManyMetrics(Protocol):
    """Metrics that can be computed for many resamples at once."""

    def resampled(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """The same as `stacked` of the metrics of each row of int[R, N]."""


def bootstrap(metrics: Metrics, count: int, *, resamples: int = RESAMPLES) -> dict[str, list[float]]:
    """Confidence intervals of metrics, from their values on resamples of the records; see `intervals`.

    Args:
        metrics: computes the metrics of some records.
        count: N, the number of records.
        resamples: R, the number of resamples to draw.

    Returns:
        {metric: [low, high]}, with 95 % confidence; equal arguments give equal intervals.
    """
    return intervals(resample(metrics, count, resamples=resamples), metrics(np.arange(count)))


def resample(metrics: Metrics, count: int, *, resamples: int = RESAMPLES) -> dict[str, np.ndarray]:
    """Values of metrics on R resamples, each of as many records, drawn with replacement.

    The resamples depend only on R and on the number of records: two models get the same resamples, so the intervals of
    their differences are paired.

    Returns:
        {metric: float[R]}, NaN for a resample on which the metric is undefined.
    """
    if not count:
        return {}
    random = np.random.default_rng(0)
    draws = np.stack([random.integers(0, count, count) for _ in range(resamples)])
    return metrics.resampled(draws) if isinstance(metrics, ManyMetrics) else stacked([metrics(draw) for draw in draws])


def stacked(values: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """{metric: float[R]} of R results, NaN where a metric is undefined."""
    names = dict.fromkeys(name for each in values for name in each)
    return {name: np.array([each.get(name, np.nan) for each in values], float) for name in names}


def intervals(resampled: Mapping[str, np.ndarray], values: Mapping[str, float]) -> dict[str, list[float]]:
    """Percentile intervals, centred on the value over all records.

    A resample holds some records twice and lacks others, which by itself makes a metric like mean average precision
    larger or smaller. The mean of the resamples estimates this bias, which is subtracted.

    Source: Efron & Tibshirani, "An introduction to the bootstrap" (1993), chapters 10 (bias) and 13 (percentiles).

    Args:
        resampled: the result of `resample`, or the difference of two results.
        values: the metrics, or their differences, over all records.

    Returns:
        {metric: [low, high]}, without metrics that are undefined on every resample, or over all records.
    """
    outside = (1 - CONFIDENCE) / 2
    defined = {name: each[~np.isnan(each)] for name, each in resampled.items() if name in values}
    return {name: _centred(each, values[name], [outside, 1 - outside]) for name, each in defined.items() if len(each)}


def _centred(resampled: np.ndarray, value: float, shares: Sequence[float]) -> list[float]:
    """Quantiles without the bias, clipped to the range of the values: a share stays between 0 and 1."""
    centred = np.quantile(resampled, shares) - resampled.mean() + value
    return np.clip(centred, min(resampled.min(), value), max(resampled.max(), value)).tolist()
