"""How sure a figure is: intervals by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

RESAMPLES = 200
CONFIDENCE = 0.95


def bootstrap(
    metrics: Callable[[np.ndarray], Mapping[str, float]], count: int, *, resamples: int = RESAMPLES
) -> dict[str, list[float]]:
    """Percentile intervals of some metrics: what they come to on as many records, drawn again and again.

    Source: Efron & Tibshirani, "An introduction to the bootstrap" (1993), chapter 13.

    Args:
        metrics: of the records of these numbers, int[N], of which some occur several times; {} where none can be told.
        count: N, how many records there are.
        resamples: how often they are drawn.

    Returns:
        {metric: [low, high]}, between which it lies with 95 % confidence; the same ones for equal arguments.
    """
    random = np.random.default_rng(0)
    drawn = [metrics(random.integers(0, count, count)) for _ in range(resamples)] if count else []
    found: dict[str, list[float]] = {}
    for each in drawn:
        for name, value in each.items():
            found.setdefault(name, []).append(value)
    outside = (1 - CONFIDENCE) / 2
    return {
        name: [float(np.quantile(values, share)) for share in (outside, 1 - outside)] for name, values in found.items()
    }
