"""Targets and predictions of a head, from which its metrics are computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Classes:
    """Targets and predictions of a head that chooses among C classes, for the N rows that have a target.

    Attributes:
        rows: int[N], the numbers of the rows in the batch.
        names: the names of the classes: the V fitted values, then all others that occur.
        targets: bool[N, C].
        predictions: bool[N, C], as the labels say.
        scores: float[N, C], probabilities; 0 for values that are not in the vocabulary.
        exclusive: whether a row has exactly one class.
        fitted: V, the number of fitted values.
    """

    rows: np.ndarray
    names: Sequence[str]
    targets: np.ndarray
    predictions: np.ndarray
    scores: np.ndarray
    exclusive: bool
    fitted: int


@dataclasses.dataclass(frozen=True)
class Texts:
    """Targets and predictions of a head that writes texts, for the N rows that have a target.

    Attributes:
        rows: int[N], the numbers of the rows in the batch.
        targets: N texts.
        predictions: N texts.
        quality: float[N], how similar each prediction is to its target, 0 to 1.
        tokens: the tokens of each prediction.
    """

    rows: np.ndarray
    targets: Sequence[str]
    predictions: Sequence[str]
    quality: np.ndarray
    tokens: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Targets and predictions of a head that predicts K numbers, in their own unit, for the N rows that have a target.

    Attributes:
        rows: int[N], the numbers of the rows in the batch.
        targets: float[N, K], NaN where a number is missing.
        predictions: float[N, K].
    """

    rows: np.ndarray
    targets: np.ndarray
    predictions: np.ndarray


Outcome = Classes | Texts | Numbers
"""Targets and predictions of a head; `mmstream.evaluation.outcomes` makes it from the labels."""
