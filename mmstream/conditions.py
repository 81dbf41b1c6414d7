"""What a model is shown of its fields when it is asked what each of them contributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmstream.preprocessing import PRESENT, Tensors


class Condition(NamedTuple):
    """What is done to the fields of a batch before the network sees it.

    Attributes:
        kind: "whole", nothing; "alone", all fields but one are absent; "absent", one is; "shuffled", one is that of
            another record.
        field: the one.
    """

    kind: str
    field: str = ""

    def __call__(self, tensors: Tensors, count: int) -> Tensors:
        """The tensors of a padded batch as they are to be shown; the first `count` rows are records."""
        if self.kind == "alone":
            return {name: found if name == self.field else _absent(found) for name, found in tensors.items()}
        if self.kind == "absent":
            return {**tensors, self.field: _absent(tensors[self.field])}
        if self.kind == "shuffled":
            return {**tensors, self.field: _shuffled(tensors[self.field], count)}
        return tensors


WHOLE = Condition("whole")


def conditions_for(fields: Sequence[str]) -> list[Condition]:
    """All that is tried with some fields; a single one is alone anyway."""
    kinds = ("alone", "shuffled", "absent") if len(fields) > 1 else ("shuffled",)
    return [Condition(kind, field) for field in fields for kind in kinds]


def _absent(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.zeros_like(array) for name, array in tensors.items()}


def _shuffled(tensors: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Each record that has the field gets that of another one in its batch which has it, too.

    Records lie in their batches by a hash of their ids, so that the neighbour is as good as any other.
    """
    there = np.flatnonzero(tensors[PRESENT][:count] > 0)
    rows = np.arange(len(tensors[PRESENT]))
    rows[there] = np.roll(there, 1)
    return {name: array[rows] for name, array in tensors.items()}
