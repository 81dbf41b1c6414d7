"""Products of sparse rows, most of whose entries are in a few columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

_ROWS_AT_ONCE = 1_024
"""Bounds the memory that sparse products need."""
_DENSE = 1 / 64
"""A column is multiplied as a dense one if this share of all pairs of rows have it: that is then faster."""


def products(some: sparse.csr_array, others: sparse.csr_array, dtype: Any = np.float32) -> np.ndarray:
    """The product of each row with each row: sparse float[N, F] and float[M, F] → float[N, M] of this type.

    Words and sequences of characters that most texts hold would make the product of sparse matrices take a minute for a
    few thousand texts. As dense columns, they take a second.
    """
    dense = _shares(some) * _shares(others) > _DENSE
    frequent, rare = np.flatnonzero(dense), np.flatnonzero(~dense)
    product = np.zeros((some.shape[0], others.shape[0]), dtype)
    columns, transposed = some.tocsc(), others.tocsc()
    right, right_rare = transposed[:, frequent].toarray().astype(dtype), transposed[:, rare].tocsr().T
    left, left_rare = columns[:, frequent].toarray().astype(dtype), columns[:, rare].tocsr()
    for start in range(0, some.shape[0], _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        product[rows] = left[rows] @ right.T
        product[rows] += (left_rare[rows] @ right_rare).toarray()
    return product


def _shares(rows: sparse.csr_array) -> np.ndarray:
    """float[F]: the share of the rows that have an entry in each column."""
    return np.bincount(rows.indices, minlength=rows.shape[1]) / max(rows.shape[0], 1)
