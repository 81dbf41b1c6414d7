"""Whether a head's probabilities are what they say."""

from __future__ import annotations

import numpy as np

from mmstream.interfaces import Classes

_BINS = 10


def confidences(outcome: Classes) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities that a head stands for, float[M], and whether each is right, bool[M].

    Of exclusive classes that of the given one, of tags each tag's.
    """
    if not outcome.exclusive:
        return outcome.scores.ravel(), outcome.wanted.ravel()
    return outcome.scores.max(1), (outcome.wanted & outcome.found).any(1)


def expected_calibration_error(outcome: Classes) -> float:
    """How far probabilities lie from the shares that are right, over ten bins, by how many lie in each.

    Source: Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning" (2015).
    """
    confidence, right = confidences(outcome)
    bins = bins_of(confidence)
    gaps = [abs(confidence[bins == n].mean() - right[bins == n].mean()) * (bins == n).mean() for n in np.unique(bins)]
    return float(sum(gaps))


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """int[M]: in which of ten equal bins between 0 and 1 each probability lies."""
    return np.minimum((confidence * _BINS).astype(int), _BINS - 1)
