"""How well given labels fit what is expected of their records, by confident learning (cleanlab)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

_FEWEST = 5
"""A value that fewer training records have is not checked: nothing can be expected of it."""
_MOST_NUMBERS = 10_000_000
"""The most expected shares, of records and values, that are computed: the most frequent values come first."""
_LEAST = 1e-6
_SMALL = 0.1
_UNKNOWN = 0.5
"""Stands for the probability of a given tag if a record has none, and of a missing tag if it has all."""


@dataclasses.dataclass(frozen=True)
class CheckedValues:
    """The classes or tags that are checked, and which records have them.

    Attributes:
        names: K values, the most frequent first.
        places: int[K], where they are in the vocabulary.
        exclusive: whether a record has exactly one of them.
    """

    names: Sequence[str]
    places: np.ndarray
    exclusive: bool

    @classmethod
    def of(cls, vocabulary: Sequence[str], given: Sequence[object], exclusive: bool) -> CheckedValues:
        """Those of a vocabulary that at least five training records have, as many as the bound allows.

        Args:
            vocabulary: V values.
            given: for each training record a value, or a list of them; None if absent.
            exclusive: whether it is a value.
        """
        every = cls(vocabulary, np.arange(len(vocabulary)), exclusive)
        counts = np.zeros(len(vocabulary), int)
        index = {name: place for place, name in enumerate(vocabulary)}
        for value in given:
            for name in every.values_of(value):
                if name in index:
                    counts[index[name]] += 1
        order = np.argsort(-counts, kind="stable")[: max(_MOST_NUMBERS // max(len(given), 1), 2)]
        places = order[counts[order] >= _FEWEST]
        return cls([vocabulary[place] for place in places], places, exclusive)

    def values_of(self, value: object) -> Sequence[str]:
        """The classes or tags in a given value."""
        if value is None:
            return []
        return [str(value)] if self.exclusive else list(value)  # type: ignore[call-overload]

    def hot(self, given: Sequence[object]) -> tuple[np.ndarray, np.ndarray]:
        """Which records can be checked, int[N], and which values they have, bool[N, K].

        Those with a class that is not checked cannot; of tags that are not, nothing is said.
        """
        index = {name: column for column, name in enumerate(self.names)}
        columns = {
            row: [index[name] for name in self.values_of(value) if name in index]
            for row, value in enumerate(given)
            if value is not None
        }
        rows = [row for row, each in columns.items() if each or not self.exclusive]
        hot = np.zeros((len(rows), len(self.names)), bool)
        for place, row in enumerate(rows):
            hot[place, columns[row]] = True
        return np.array(rows, int), hot


@dataclasses.dataclass(frozen=True)
class Quality:
    """How well the labels of N records fit.

    Attributes:
        scores: float[N], 0 to 1; below 0.5, something else is likelier than what was given.
        doubted: int[N], the value that a record has and that fits least; -1 if it has none.
        likelier: int[N], the value that it does not have and that fits best; -1 if it has all.
        probabilities: float[N, K], about the probability of each value.
    """

    scores: np.ndarray
    doubted: np.ndarray
    likelier: np.ndarray
    probabilities: np.ndarray

    def probability_of(self, columns: np.ndarray) -> np.ndarray:
        """float[N]: the probability of one value of each record; NaN for -1."""
        return np.where(columns < 0, np.nan, self.probabilities[np.arange(len(columns)), columns])


def quality_of(expected: np.ndarray, hot: np.ndarray, exclusive: bool) -> Quality:
    """Compare given labels with what is expected of their records.

    A record's label is judged by two values: what it was given, and the likeliest other value; of tags, by the given
    tag that fits least and the missing tag that fits best, as usually a wrong tag stands in the place of a right one.
    The score is cleanlab's self-confidence in the first of the two, with 0.1 added to both probabilities: what is small
    is uncertain. `benchmarks/wrong_labels.py` compares it with cleanlab's scores of all values.

    Source: Northcutt, Jiang & Chuang, "Confident learning" (2021); Kuan & Mueller, "Model-agnostic label quality
    scoring to detect real-world label errors" (2022).

    Args:
        expected: float[N, K], about the probability of each value.
        hot: bool[N, K], which values the records were given.
        exclusive: whether each record has exactly one.
    """
    from cleanlab.rank import get_label_quality_scores

    probabilities = np.clip(expected, _LEAST, 1 - _LEAST)
    if exclusive:
        probabilities = probabilities / probabilities.sum(1, keepdims=True)
    doubted = np.where(hot.any(1), np.where(hot, probabilities, np.inf).argmin(1), -1)
    likelier = np.where(hot.all(1), -1, np.where(hot, -np.inf, probabilities).argmax(1))
    quality = Quality(np.zeros(0), doubted, likelier, probabilities)
    if not len(hot):
        return quality
    given = np.where(doubted < 0, _UNKNOWN, quality.probability_of(doubted)) + _SMALL
    other = np.where(likelier < 0, _UNKNOWN, quality.probability_of(likelier)) + _SMALL
    pairs = np.stack([given, other], 1) / (given + other)[:, None]
    return dataclasses.replace(quality, scores=get_label_quality_scores(np.zeros(len(hot), int), pairs))
