"""TF-IDF of words, pairs of words, and sequences of characters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

_WORD = re.compile(r"\w+|[^\w\s]")
_MOST_TERMS = 50_000
"""The most terms that are kept of each kind; the most frequent ones."""
_SIZES = (1, 2, 3)
"""How many characters are in a sequence."""
_WORD_BITS, _CHARACTER_BITS = 32, 21

Codes = Callable[[str], np.ndarray]
"""Turns a text into the codes of its terms, int64[any], in which each term occurs as often as in the text."""


class Tfidf:
    """Turns texts into TF-IDF: (1 + log of the count) · idf, with rows of length 1.

    scikit-learn's vectorizers do the same, but take four times as long: here, terms are numbers.

    Source: Manning et al., "Introduction to information retrieval" (2008), section 6.4.

    Args:
        codes: makes terms of a text.
    """

    def __init__(self, codes: Codes) -> None:
        self._codes = codes
        self._terms = np.array([], np.int64)
        self._idf = np.array([])

    def fit_transform(self, texts: Iterable[str]) -> sparse.csr_array:
        """Choose the terms, count in how many texts they are, and transform these texts; empty ones do not count."""
        counted = self._counted(texts)
        found = np.concatenate([codes for codes, _ in counted] or [self._terms])
        times = np.concatenate([counts for _, counts in counted] or [self._terms])
        terms, places, documents = np.unique(found, return_inverse=True, return_counts=True)
        frequency = np.bincount(places, weights=times, minlength=len(terms))
        kept = np.sort(np.argsort(-frequency, kind="stable")[:_MOST_TERMS])
        self._terms = terms[kept]
        self._idf = np.log((1 + sum(len(codes) > 0 for codes, _ in counted)) / (1 + documents[kept])) + 1
        return self._weighed(counted)

    def transform(self, texts: Iterable[str]) -> sparse.csr_array:
        """Texts → sparse float64[N, terms]."""
        return self._weighed(self._counted(texts))

    def _counted(self, texts: Iterable[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The terms of each text, and how often it has them."""
        return [np.unique(self._codes(text), return_counts=True) for text in texts]

    def _weighed(self, counted: Sequence[tuple[np.ndarray, np.ndarray]]) -> sparse.csr_array:
        columns, weights, ends = [self._terms[:0]], [self._idf[:0]], [0]
        for codes, counts in counted:
            places = np.searchsorted(self._terms, codes)
            known = places < len(self._terms)
            known[known] = self._terms[places[known]] == codes[known]
            columns.append(places[known])
            weights.append((1 + np.log(counts[known])) * self._idf[places[known]])
            ends.append(ends[-1] + len(columns[-1]))
        values = np.concatenate(weights), np.concatenate(columns), np.array(ends)
        return sparse.csr_array(normalize(sparse.csr_array(values, shape=(len(counted), len(self._terms)))))


class WordCodes:
    """The codes of words and of pairs of words; words are numbered when they first occur, while it is open.

    Attributes:
        is_open: whether new words get numbers.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.is_open = True

    def __call__(self, text: str) -> np.ndarray:
        """The codes of a text."""
        words = _WORD.findall(text.lower())
        if self.is_open:
            for word in words:
                self._numbers.setdefault(word, len(self._numbers))
        numbers = np.array([self._numbers.get(word, -1) for word in words], np.int64)
        first, second = numbers[:-1], numbers[1:]
        both = (first >= 0) & (second >= 0)
        pairs = (first[both] + 1 << _WORD_BITS) | second[both]
        return np.concatenate([numbers[numbers >= 0], pairs])


def character_codes(text: str) -> np.ndarray:
    """The codes of sequences of one to three characters that lie within a word with the blanks around it."""
    words = text.lower().split()
    if not words:
        return np.array([], np.int64)
    spaced = f" {' '.join(words)} "
    points = np.frombuffer(spaced.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
    codes = []
    for size in _SIZES:
        count = len(points) - size + 1
        if count < 1:
            continue
        code, inner = np.zeros(count, np.int64), np.ones(count, bool)
        for place in range(size):
            code = (code << _CHARACTER_BITS) | points[place : place + count]
            if 0 < place < size - 1:
                inner &= points[place : place + count] != ord(" ")
        codes.append(code[inner])
    return np.concatenate(codes)
