"""What ridge regression expects of training records on which it was not fitted: each of them is left out once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

from mmstream.evaluation.linear_models import PENALTIES

_AT_ONCE = 2_000
"""So many training records are solved together, which bounds time and memory; more are cut into such blocks."""
_MOST_DECIDING = 500
"""So many training records decide the penalty."""

Similarity = Callable[[slice, slice], np.ndarray]
"""Two ranges of records → float[N, M], how similar each record of the first is to each of the second: a kernel."""


class Expected(NamedTuple):
    """What is expected of records.

    Attributes:
        within: float[N, K], for the training records, each by models that were fitted without it.
        beyond: float[M, K], for other records.
    """

    within: np.ndarray
    beyond: np.ndarray


@threadpool_limits.wrap(limits=1, user_api="blas")  # on busy cores, threads that wait for each other take far longer
def leave_one_out(similarity: Similarity, targets: np.ndarray, others: int) -> Expected:
    """Fit kernel ridge regression to training records, and predict each of them from all others.

    The prediction without a record follows from the solution with all records: `y - (G⁻¹ y) / diag(G⁻¹)` for the
    similarities `G` of the records, penalty included. The penalty is the one with the least squared error of these
    predictions for the first 500 records. Beyond 2,000 records, the records are cut into blocks, and what the blocks
    predict is averaged.

    Source: Golub, Heath & Wahba, "Generalized cross-validation" (1979), for leaving out one record; Zhang, Duchi &
    Wainwright, "Divide and conquer kernel ridge regression" (2015), for blocks.

    Args:
        similarity: of N training records, in random order, and of M other records, which come after them.
        targets: float[N, K], those of the training records, N at least 1.
        others: M.
    """
    count, mean = len(targets), targets.mean(0)
    blocks = _ranges(0, count)
    first = slice(0, min(_MOST_DECIDING, blocks[0].stop))
    penalty = _best_penalty(similarity(first, first), targets[first] - mean)
    sums = np.zeros((count + others, targets.shape[1]), np.float32)
    for block in blocks:
        centred = targets[block] - mean
        inverse = _inverse(similarity(block, block), penalty)
        weights = inverse @ centred
        for rows in (*blocks, *_ranges(count, count + others)):
            if rows == block:
                sums[rows] += centred - weights / np.diag(inverse)[:, None]
            else:
                sums[rows] += similarity(rows, block) @ weights
    expected = sums / len(blocks) + mean
    return Expected(expected[:count], expected[count:])


def _ranges(start: int, end: int) -> Sequence[slice]:
    """Consecutive ranges of nearly equal size."""
    edges = np.linspace(start, end, -(-(end - start) // _AT_ONCE) + 1).astype(int)
    return [slice(int(low), int(high)) for low, high in itertools.pairwise(edges)]


def _best_penalty(similarities: np.ndarray, targets: np.ndarray) -> float:
    """The penalty with the least squared error of the records that are left out."""

    def error(penalty: float) -> float:
        inverse = _inverse(similarities, penalty)
        return float(np.square((inverse @ targets) / np.diag(inverse)[:, None]).sum())

    return min(PENALTIES, key=error)


def _inverse(similarities: np.ndarray, penalty: float) -> np.ndarray:
    penalised = similarities + penalty * np.eye(len(similarities))
    inverse: np.ndarray = cho_solve(cho_factor(penalised, overwrite_a=True), np.eye(len(penalised)), overwrite_b=True)
    return inverse
