"""Ablations: predicting with fields hidden or shuffled, to measure what each field contributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmstream.preprocessing.preprocessor import PRESENT, Tensors


class Ablation(NamedTuple):
    """A change to the fields of a batch before the network sees it.

    Attributes:
        kind: "whole": nothing changes; "alone": every field but one is hidden; "absent": one field is hidden;
            "shuffled": the values of one field are swapped between records.
        field: that one field; "" for "whole".
    """

    kind: str
    field: str = ""

    def __call__(self, tensors: Tensors, count: int) -> Tensors:
        """The tensors of a padded batch as the network sees them; the first `count` rows are records."""
        if self.kind == "alone":
            return {name: each if name == self.field else _hidden(each) for name, each in tensors.items()}
        if self.kind == "absent":
            return {**tensors, self.field: _hidden(tensors[self.field])}
        if self.kind == "shuffled":
            return {**tensors, self.field: _shuffled(tensors[self.field], count)}
        return tensors


WHOLE = Ablation("whole")


def ablations_of(fields: Sequence[str]) -> list[Ablation]:
    """Every ablation of some fields; a single field is always alone, so it is only shuffled."""
    kinds = ("alone", "shuffled", "absent") if len(fields) > 1 else ("shuffled",)
    return [Ablation(kind, field) for field in fields for kind in kinds]


def _hidden(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.zeros_like(array) for name, array in tensors.items()}


def _shuffled(tensors: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Give each record that has the field the value of another such record in the batch.

    Batches are in the order of a hash of the ids, so the neighbour is as good as a random record.
    """
    having = np.flatnonzero(tensors[PRESENT][:count] > 0)
    rows = np.arange(len(tensors[PRESENT]))
    rows[having] = np.roll(having, 1)
    return {name: array[rows] for name, array in tensors.items()}
