"""The doubted records in the report: with their pictures and texts, as people must look at them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmstream.evaluation.doubtful_labels import Doubt
from mmstream.interfaces import Spec
from mmstream.preprocessing import examples
from mmstream.preprocessing.preprocessor import PRESENT

_SHOWN = 40
"""How many records are shown for a head and a split."""
_BATCH = 256

Picture = Callable[[Mapping[str, Any], Mapping[str, Spec], int], str]
"""{field: {tensor: [N, …]}}, the specs and a row → the first picture of this row as a data URI; "" if it has none."""


@dataclasses.dataclass(frozen=True)
class DoubtCard:
    """A doubted record in the report.

    Attributes:
        doubt: what is doubted.
        picture: its picture as a data URI; "" if it has none.
        texts: the values of its text fields.
    """

    doubt: Doubt
    picture: str
    texts: Sequence[str]


@dataclasses.dataclass(frozen=True)
class DoubtfulRecords:
    """The records of a head and a split that the report shows.

    Attributes:
        head: the head.
        split: the split.
        found: how many records are doubted.
        doubts: those that are shown.
        tensors: {row of the split: {field: {tensor: [1, …]}}}.
        texts: {row of the split: the values of its text fields}.
        specs: the specs of the fields.
    """

    head: str
    split: str
    found: int
    doubts: Sequence[Doubt]
    tensors: Mapping[int, Mapping[str, Any]]
    texts: Mapping[int, Sequence[str]]
    specs: Mapping[str, Spec]

    def cards(self, picture: Picture) -> list[DoubtCard]:
        """A card for each record."""
        return [
            DoubtCard(doubt, picture(self.tensors[doubt.row], self.specs, 0), self.texts[doubt.row])
            for doubt in self.doubts
        ]


def show_doubtful(doubts: Sequence[Doubt], examples_path: str, specs: Mapping[str, Spec]) -> list[DoubtfulRecords]:
    """The most doubted records of each head and split, with what is in their examples.

    Args:
        doubts: in order.
        examples_path: output of `mmstream preprocess`.
        specs: the specs of all fields.
    """
    groups: dict[tuple[str, str], list[Doubt]] = {}
    for doubt in doubts:
        groups.setdefault((doubt.head, doubt.split), []).append(doubt)
    rows: dict[str, set[int]] = {}
    for (_, split), each in groups.items():
        rows.setdefault(split, set()).update(doubt.row for doubt in each[:_SHOWN])
    read = {split: _read(examples_path, split, wanted, specs) for split, wanted in rows.items()}
    return [
        DoubtfulRecords(head, split, len(each), each[:_SHOWN], *read[split], specs)
        for (head, split), each in groups.items()
    ]


def _read(
    examples_path: str, split: str, rows: set[int], specs: Mapping[str, Spec]
) -> tuple[dict[int, dict[str, Any]], dict[int, list[str]]]:
    """The tensors and the texts of some rows of a split."""
    import tensorflow as tf

    pictures = {
        field: {name: each for name, each in spec.items() if name == PRESENT or each.dtype == "uint8"}
        for field, spec in specs.items()
    }
    tensors: dict[int, dict[str, Any]] = {}
    texts: dict[int, list[str]] = {}
    data = examples.read_examples(examples.shards_of(examples_path, split)).take(max(rows) + 1)
    for number, batch in enumerate(data.batch(_BATCH)):
        places = sorted(row - number * _BATCH for row in rows if row // _BATCH == number)
        if not places:
            continue
        chosen = tf.gather(batch, places)
        parsed = tf.nest.map_structure(lambda tensor: tensor.numpy(), examples.parse(chosen, pictures))
        told = examples.told(chosen, [f"_text/{field}" for field in specs])
        for n, place in enumerate(places):
            row = number * _BATCH + place
            tensors[row] = {f: {name: t[n : n + 1] for name, t in each.items()} for f, each in parsed.items()}
            texts[row] = [values[n] for values in told if values[n]]
    return tensors, texts
