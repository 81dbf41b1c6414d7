"""Finding near-equal texts: equal but for capitals and punctuation, or with a few other words."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
from rensa import RMinHash

from mmstream.interfaces import SimilarityHash
from mmstream_text.tokens import detokenise

_SHINGLE = 5
"""Characters in a shingle."""
_LONGEST = 10_000
"""The characters of a text that count."""
_LEAST_SIMILARITY = 0.8
_IN_BAND = 4
_SIZE = 128


class TextHash(SimilarityHash):
    """128 bytes that estimate the Jaccard similarity of two texts' shingles of 5 characters; near-equal from 0.8.

    Case, punctuation, symbols and blanks do not count; a text of nothing else has no hash. Characters rather than words
    suit scripts without blanks between words. Each byte is the lowest of a MinHash.

    Source: A. Broder, On the resemblance and containment of documents, 1997; P. Li and A. König, b-bit minwise hashing,
    WWW 2010.
    """

    size = _SIZE
    version = RMinHash.ALGORITHM_VERSION

    def hash(self, decoded: Mapping[str, Any]) -> bytes | None:
        """The hash of `tokens`; None if they hold neither letters nor digits."""
        text = plain(detokenise(decoded["tokens"]))
        if not text:
            return None
        padded = f" {text} "
        shingles = {padded[start : start + _SHINGLE] for start in range(max(len(padded) - _SHINGLE + 1, 1))}
        found = RMinHash(num_perm=_SIZE, seed=1)
        found.update([shingle.encode("utf-8", "surrogatepass") for shingle in shingles])
        return np.array(found.digest(), np.uint32).astype(np.uint8).tobytes()

    def bands(self, hashes: np.ndarray) -> np.ndarray:
        """32 bands of 4 bytes: uint64[N, 32]."""
        return np.ascontiguousarray(hashes).view(f">u{_IN_BAND}").astype(np.uint64)

    def are_near(self, some: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Whether at least 0.8 of the bytes are equal: bool[N]."""
        return (some == others).sum(1) >= _LEAST_SIMILARITY * self.size


def plain(text: str) -> str:
    """The letters, marks and digits of a text without case, and single blanks for all else.

    >>> plain("Stay comfortable — and stay, in the RACE!")
    'stay comfortable and stay in the race'
    """
    folded = unicodedata.normalize("NFKC", text[:_LONGEST]).casefold()
    kept = (character if unicodedata.category(character)[0] in "LMN" else " " for character in folded)
    return " ".join("".join(kept).split())
