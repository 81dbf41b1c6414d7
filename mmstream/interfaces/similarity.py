"""The interface of similarity hashes, by which near-equal values of a field are found."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np


class SimilarityHash(abc.ABC):
    """Makes short hashes of values, such that the hashes of near-equal values resemble each other.

    Two values are compared only if their hashes have a band in common, so that a million values need no 10¹²
    comparisons. Everything here must give equal results on every machine.
    """

    size: ClassVar[int]
    """K, the bytes of a hash."""
    version: ClassVar[int] = 1
    """To be raised if equal values get other hashes; outputs then make the hashes that they keep again."""

    @abc.abstractmethod
    def hash(self, decoded: Mapping[str, Any]) -> bytes | None:
        """Return the hash of a value, K bytes; None if it holds too little to be told from others (a blank picture).

        Args:
            decoded: what `decode` of the field returned.
        """

    @abc.abstractmethod
    def bands(self, hashes: np.ndarray) -> np.ndarray:
        """Return keys of each hash, of which near-equal values are likely to have one in common: uint64[N, bands].

        Args:
            hashes: uint8[N, K].
        """

    @abc.abstractmethod
    def are_near(self, some: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return whether each pair of hashes belongs to near-equal values: bool[N].

        Args:
            some: uint8[N, K], the first of each pair.
            others: uint8[N, K], the second of each pair.
        """
