"""Padding: absent records fill a batch up to the one size that a network is given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmstream.interfaces import Spec
from mmstream.preprocessing.preprocessor import Tensors


def absent(specs: Mapping[str, Spec], size: int) -> Tensors:
    """{field: {tensor: [size, *spec shape]}}: the tensors of records that lack every field."""
    return {
        name: {key: np.zeros((size, *shape), dtype) for key, (shape, dtype) in spec.items()}
        for name, spec in specs.items()
    }


def padded_to(size: int, tensors: Tensors) -> Tensors:
    """Append absent records to the tensors of at most `size` records: {field: {tensor: [size, …]}}."""

    def padded(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])

    return {field: {name: padded(array) for name, array in each.items()} for field, each in tensors.items()}
