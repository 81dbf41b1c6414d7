"""Finding near-equal values by their similarity hashes, in time and memory in proportion to the number of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmstream.interfaces import SimilarityHash

_AT_ONCE = 1 << 16
"""Hashes, or pairs of them, that are looked at in one step."""
_WINDOW = 32
"""Different hashes that a hash is compared with in a band that they share."""


class Found(NamedTuple):
    """What was found among some values, in their order.

    Attributes:
        groups: int64[N], equal for values that are linked by near-equal ones; a value without a hash is alone.
        marks: uint8[N], the marks of all near-equal values, and of equal ones including the value itself.
    """

    groups: np.ndarray
    marks: np.ndarray


def similar(hashes: Sequence[bytes | None], similarity: SimilarityHash, marks: np.ndarray) -> Found:
    """Find near-equal values; the result does not depend on their order.

    Args:
        hashes: their hashes; None for values that are not compared.
        similarity: what made the hashes.
        marks: uint8[N], bits to be collected, such as one for each split.
    """
    groups, collected = np.arange(len(hashes)), marks.copy()
    rows = np.flatnonzero([value is not None for value in hashes])
    if not len(rows):
        return Found(groups, collected)
    table = np.frombuffer(b"".join(filter(None, hashes)), np.uint8).reshape(len(rows), similarity.size)
    different, place = np.unique(table, axis=0, return_inverse=True)
    place = place.reshape(-1)
    own = np.zeros(len(different), np.uint8)
    np.bitwise_or.at(own, place, marks[rows])
    seen, labels = own.copy(), np.arange(len(different))
    for candidates in _sharing_a_band(different, similarity):
        found = [np.empty((2, 0), np.int64)]
        for one, other in candidates:
            adds = (labels[one] != labels[other]) | (own[other] & ~seen[one] > 0) | (own[one] & ~seen[other] > 0)
            pairs = np.stack([one[adds], other[adds]])
            pairs = pairs[:, similarity.are_near(different[pairs[0]], different[pairs[1]])]
            np.bitwise_or.at(seen, pairs[0], own[pairs[1]])
            np.bitwise_or.at(seen, pairs[1], own[pairs[0]])
            found.append(pairs)
        labels = components(np.concatenate(found, axis=1), labels)
    collected[rows] = seen[place]
    first = np.full(len(different), len(hashes))
    np.minimum.at(first, labels[place], rows)
    groups[rows] = first[labels[place]]
    return Found(groups, collected)


def components(pairs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Link more nodes; returns the smallest node of each one's connected component: int64[N].

    Args:
        pairs: int[2, any], the nodes to be linked.
        labels: int64[N], an earlier result; each node's own number if there is none.
    """
    count = len(labels)
    one, other = np.concatenate([pairs, np.stack([np.arange(count), labels])], axis=1)
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    total, component = connected_components(graph, directed=False)
    smallest = np.full(total, count)
    np.minimum.at(smallest, component, np.arange(count))
    return smallest[component]


def _sharing_a_band(
    different: np.ndarray, similarity: SimilarityHash
) -> Iterator[Iterator[tuple[np.ndarray, np.ndarray]]]:
    """For each band, the pairs of hashes to be compared: int64[any] of the one, and of the other.

    Hashes that share the band are sorted by the next band, and each is compared with the next 32.
    """
    blocks = range(0, len(different), _AT_ONCE)
    bands = np.concatenate([similarity.bands(different[start : start + _AT_ONCE]) for start in blocks])
    for number in range(bands.shape[1]):
        order = np.lexsort((bands[:, (number + 1) % bands.shape[1]], bands[:, number]))
        yield _neighbours(order, bands[order, number])


def _neighbours(order: np.ndarray, keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for step in range(1, min(_WINDOW + 1, len(keys))):
        first = np.flatnonzero(keys[step:] == keys[:-step])
        if not len(first):
            return
        for start in range(0, len(first), _AT_ONCE):
            some = first[start : start + _AT_ONCE]
            yield order[some], order[some + step]
