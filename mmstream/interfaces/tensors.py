"""The tensors of a field, and what was fitted to its values in the training split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

RESERVED_IDS = 4
"""Ids 0 to 3 of every vocabulary: padding, unknown, start, end. The fitted values follow."""
PADDING, UNKNOWN, START, END = range(RESERVED_IDS)

LabelType = Literal["string", "number", "strings", "numbers"]


class TensorSpec(NamedTuple):
    """The static shape of one record's tensor (without B), and its dtype: "float32", "int64" or "uint8"."""

    shape: tuple[int, ...]
    dtype: str


Spec = Mapping[str, TensorSpec]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The results of fitting one field in the full pass over the training split.

    Attributes:
        vocabulary: its V values, the most frequent first; value v has id `RESERVED_IDS + v`.
        statistics: one or more numbers for each name that `Field.statistics` declares.
    """

    vocabulary: tuple[str, ...] = ()
    statistics: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
