"""How similar records are, for models that need no network: by words, colours, shapes and tabular values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from mmstream.evaluation.checked_records import CheckedRecords
from mmstream.evaluation.leave_one_out import Similarity
from mmstream.evaluation.simple_features import Features

_MOST_COMPARED = 500
"""So many records say how similar the shapes of two pictures usually are."""
_NARROWNESS = 2.0
"""Two pictures whose shapes differ as much as usual have the similarity exp(-NARROWNESS)."""


def similarities_of(
    training: CheckedRecords, others: CheckedRecords | None, fields: Sequence[str], rows: Sequence[np.ndarray]
) -> Mapping[str, Similarity]:
    """{name: a similarity} of training records followed by others, for the fields that a head reads.

    Args:
        training: the records to which features are fitted.
        others: others; None for no others.
        fields: the fields.
        rows: int[N] and int[M], which of the training records and of the others count.
    """
    splits = [training, others] if others else [training]
    found: dict[str, Similarity] = {}
    for field in fields:
        column = training.records.columns[field]
        if column.has_features:
            make = Features(column)
            parts = [make(each.records.columns[field])[which] for each, which in zip(splits, rows, strict=True)]
            features = normalize(sparse.vstack(parts))
            found[f"{column.kind} of {field}"] = _cosine(features if column.kind == "text" else features.toarray())
        if field in training.shapes:
            shapes = [each.shapes[field][which] for each, which in zip(splits, rows, strict=True)]
            found[f"shapes of {field}"] = _radial(np.concatenate(shapes))
    return found | ({"everything": _together(list(found.values()))} if len(found) > 1 else {})


def _cosine(unit: Any) -> Similarity:
    """By the cosine of features of length 1, sparse or dense float[N, F]; 0 to a record that has none."""

    def similarity(rows: slice, others: slice) -> np.ndarray:
        products = unit[rows] @ unit[others].T
        return np.asarray(products.toarray() if sparse.issparse(products) else products, float)

    return similarity


def _radial(features: np.ndarray) -> Similarity:
    """By the distance of features of length 1, float[N, F], relative to a usual distance; 0 to a record without any."""
    some = features[:_MOST_COMPARED]
    present = np.abs(features).sum(1) > 0
    usual = max(float(np.median(2 - 2 * some @ some.T)), 1e-6)

    def similarity(rows: slice, others: slice) -> np.ndarray:
        squares = 2 - 2 * (features[rows] @ features[others].T)
        return np.exp(-_NARROWNESS * squares / usual, dtype=float) * np.outer(present[rows], present[others])

    return similarity


def _together(each: Sequence[Similarity]) -> Similarity:
    """By all similarities, alone and in combination: the product of (1 + similarity) / 2."""

    def similarity(rows: slice, others: slice) -> np.ndarray:
        product: np.ndarray = np.prod([(1 + by(rows, others)) / 2 for by in each], axis=0)
        return product

    return similarity
