"""What the network and its training should be like, by the number of records and by what they hold."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmstream.interfaces import Field
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.starting_config.columns import Column

FEW = 5_000
"""With fewer records, pictures are augmented."""
_SMALL = 640
"""With fewer rows, an epoch would have fewer than ten batches of 64."""
_BUDGET = 2_000_000_000
"""How many numbers of media a training may read: about a quarter of an hour on two cores, for a small CNN."""
_EPOCHS, _MOST_EPOCHS, _FEWEST_EPOCHS = 30, 40, 10
_CHEAP_EPOCHS = 60
_IMBALANCE = 50
"""Classes are weighted if the most frequent one is so many times as frequent as a third of them."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """Some keys of a config, with the reasons.

    Attributes:
        keys: the keys and their values.
        why: the reasons.
    """

    keys: Mapping[str, Any]
    why: Sequence[str]


def parameters_of(column: Column, count: int) -> Mapping[str, Any]:
    """More parameters of a field that is read, by the number of rows."""
    return {**column.suggestion.read, **(column.suggestion.few if count < FEW else {})}


def model(inputs: Sequence[Column]) -> Sequence[tuple[str, str, str]]:
    """Keys of the section `model` besides the parts, with their values and reasons.

    Args:
        inputs: the fields that encoders read.
    """
    chosen = []
    if any(column.component.linear_features is not Field.linear_features for column in inputs):
        chosen.append(
            ("wide", "true", "linear models beside the network, so that what a simple model learns is not lost")
        )
    if len(inputs) > 1:
        chosen.append(
            ("fusion", "{use: late}", "each field predicts, weighted by how much it helps on validation data")
        )
        chosen.append(
            ("auxiliary", "0.3", "also trains each field to predict alone, so that a weak field does no harm")
        )
    return chosen


def head(column: Column, values: Sequence[Any]) -> Choice:
    """Keys of the head that predicts a column.

    Args:
        column: the column.
        values: a sample of it, without None.
    """
    if column.component.predicted_by != "classification" or not len(values):
        return Choice({}, [])
    counts = sorted(Counter(map(str, values)).values())
    keys, why = {}, []
    often = counts[-1] / counts[(len(counts) - 1) // 3]
    if often >= _IMBALANCE:
        keys["balance"] = "class_weights"
        why.append(f"the most frequent class occurs {often:.0f} times as often as the rarest third")
    if single := counts.count(1):
        why.append(f"{single:,} of {len(counts):,} classes occur only once, and cannot be both learnt and measured")
    return Choice(keys, why)


def training(inputs: Sequence[Column], count: int) -> Choice:
    """The section `training`.

    Args:
        inputs: the fields that encoders read.
        count: how many rows there are.
    """
    batch = 64 if count >= _SMALL else max(count // 20, 4)
    epochs = _EPOCHS if count >= _SMALL else _MOST_EPOCHS
    why = ["few rows: smaller batches, more epochs"] if count < _SMALL else []
    if all(column.encoder for column in inputs if column.component.media) and any(column.encoder for column in inputs):
        epochs = _CHEAP_EPOCHS
        why.append("pretrained parts are frozen and run once, so that epochs are cheap")
    affordable = _BUDGET // max(count * _numbers(inputs), 1)
    if affordable < epochs:
        epochs = max(affordable, _FEWEST_EPOCHS)
        why.append("many pictures: as many epochs as take about a quarter of an hour on two cores")
    keys: dict[str, Any] = {"epochs": epochs, "batch_size": batch}
    if len(inputs) > 1:
        keys["modality_dropout"] = 0.2
        why.append("modality_dropout: helps to label rows that lack an input")
    keys["early_stopping"] = {"patience": max(epochs // 3, 5)}
    return Choice(keys, why)


def _numbers(inputs: Sequence[Column]) -> int:
    """How many numbers the media of a record consist of."""
    media = {column.field: column.config for column in inputs if column.component.media and not column.encoder}
    specs = Preprocessor(media).specs if media else {}
    return sum(math.prod(each.shape) for spec in specs.values() for each in spec.values())
