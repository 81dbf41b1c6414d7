"""How sure a figure is: intervals by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

RESAMPLES = 200
CONFIDENCE = 0.95

Metrics = Callable[[np.ndarray], Mapping[str, float]]
"""Metrics of the records of these numbers, int[N], of which some occur several times; {} where none can be told."""


def bootstrap(metrics: Metrics, count: int, *, resamples: int = RESAMPLES) -> dict[str, list[float]]:
    """Intervals of some metrics: what they come to on as many records, drawn again and again; see `intervals`.

    Args:
        metrics: of the records.
        count: N, how many records there are.
        resamples: how often they are drawn.

    Returns:
        {metric: [low, high]}, between which it lies with 95 % confidence; the same ones for equal arguments.
    """
    return intervals(draws(metrics, count, resamples=resamples), metrics(np.arange(count)))


def draws(metrics: Metrics, count: int, *, resamples: int = RESAMPLES) -> dict[str, np.ndarray]:
    """What some metrics come to on R draws of as many records, with replacement.

    The draws depend on their number and on that of the records alone: those of two models are of the same records, and
    the intervals of their differences are paired.

    Returns:
        {metric: float[R]}, NaN where a draw cannot tell it.
    """
    random = np.random.default_rng(0)
    drawn = [metrics(random.integers(0, count, count)) for _ in range(resamples)] if count else []
    names = dict.fromkeys(name for each in drawn for name in each)
    return {name: np.array([each.get(name, np.nan) for each in drawn], float) for name in names}


def intervals(drawn: Mapping[str, np.ndarray], found: Mapping[str, float]) -> dict[str, list[float]]:
    """Percentile intervals, their middle moved to where the metric of all records is.

    A draw holds some records twice and lacks others, which as such makes a metric like mean average precision larger or
    smaller: by how much in the mean is known, and is taken off.

    Source: Efron & Tibshirani, "An introduction to the bootstrap" (1993), chapters 10 (bias) and 13 (percentiles).

    Args:
        drawn: what `draws` gave, or differences of it.
        found: the metrics, or their differences, of all records.

    Returns:
        {metric: [low, high]}, without those that no draw, or not all records, can tell.
    """
    outside = (1 - CONFIDENCE) / 2
    told = {name: values[~np.isnan(values)] for name, values in drawn.items() if name in found}
    return {name: _moved(values, found[name], [outside, 1 - outside]) for name, values in told.items() if len(values)}


def _moved(values: np.ndarray, found: float, shares: Sequence[float]) -> list[float]:
    """Quantiles moved to where a figure is, but not beyond what a draw gave: a share stays between 0 and 1."""
    moved = np.quantile(values, shares) - values.mean() + found
    return np.clip(moved, min(values.min(), found), max(values.max(), found)).tolist()
