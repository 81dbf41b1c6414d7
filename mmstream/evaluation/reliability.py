"""Calibration: whether a head is right as often as its probabilities say."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmstream.evaluation.outcomes import metrics_of
from mmstream.interfaces import Classes, Outcome

_BINS = 10


def all_metrics_of(head: Any, outcome: Outcome) -> dict[str, float]:
    """The metrics of a head, and of a head that predicts classes or tags the calibration error `ece`.

    Args:
        head: the layer of the head.
        outcome: the head's outcome, from `Predictions.outcome`.
    """
    metrics = metrics_of(head, outcome)
    if isinstance(outcome, Classes) and len(outcome.rows):
        metrics["ece"] = expected_calibration_error(outcome)
    return metrics


def confidences(outcome: Classes) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities that a head gives, float[M], and whether each label is right, bool[M].

    For exclusive classes, the probability of the predicted class; for tags, that of each tag.
    """
    if not outcome.exclusive:
        return outcome.scores.ravel(), outcome.targets.ravel()
    return outcome.scores.max(1), (outcome.targets & outcome.predictions).any(1)


def expected_calibration_error(outcome: Classes) -> float:
    """The mean distance between probability and share of right labels over ten bins, weighted by their sizes.

    Source: Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning" (2015).
    """
    confidence, right = confidences(outcome)
    bins = bins_of(confidence)
    gaps = [abs(confidence[bins == n].mean() - right[bins == n].mean()) * (bins == n).mean() for n in np.unique(bins)]
    return float(sum(gaps))


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """int[M]: the bin in which each probability lies, of ten equal ones between 0 and 1."""
    return np.minimum((confidence * _BINS).astype(int), _BINS - 1)
