"""Targets and predictions of a head: the values that records were given, and the labels that `decode` returns.

All metrics are computed from these, so that none can contradict the labels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from mmstream.evaluation.intervals import stacked
from mmstream.interfaces import Classes, Fitted, Head, Numbers, Outcome, Texts

AnyOutcome = TypeVar("AnyOutcome", bound=Outcome)


@dataclasses.dataclass(frozen=True)
class TrainedHead:
    """A head, and what its `decode` needs beyond the predictions.

    Attributes:
        layer: the head.
        fitted: what the full pass learnt about the field that it predicts.
        calibration: the result of its `calibrate`.
    """

    layer: Head
    fitted: Fitted
    calibration: Mapping[str, Any]

    def decode(self, predictions: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """Predictions as numpy [B, …] → B pairs (label, score)."""
        return self.layer.decode(predictions, self.fitted, self.calibration)


def outcome_of(head: TrainedHead, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Outcome:
    """The outcome for the records that have something to read and a target, whether in the vocabulary or not.

    Args:
        head: the head that predicts.
        predictions: numpy [B, …].
        target: the tensors of the target field, numpy [B, …], with "given", object[B] (see `Field.given`), and "text"
            if it is a text field.
    """
    layer, vocabulary = head.layer, head.fitted.vocabulary
    rows = np.flatnonzero(has_value(target) & (target["present"] > 0))
    chosen = {name: value[rows] for name, value in predictions.items()}
    decoded = head.decode(chosen)
    labels = [label for label, _ in decoded]
    if hasattr(layer, "probabilities"):
        return labelled(layer, vocabulary, target, rows, labels, layer.probabilities(chosen))
    outcome = labelled(layer, vocabulary, target, rows, labels, np.zeros((len(rows), len(vocabulary))))
    if isinstance(outcome, Classes):
        for row, classes, (_, score) in zip(outcome.scores, outcome.predictions, decoded, strict=True):
            row[classes] = score
    return outcome


def labelled(
    layer: Head,
    vocabulary: Sequence[str],
    target: Mapping[str, Any],
    rows: np.ndarray,
    labels: Sequence[Any],
    scores: np.ndarray,
) -> Outcome:
    """The outcome of M labels, whoever has given them.

    Args:
        layer: the head that gives labels of this type.
        vocabulary: the V values that training knows.
        target: of the target field, "given", object[N], and "text" if it is a text field.
        rows: int[M], which of the N records have these labels.
        labels: M labels.
        scores: float[M, V], the probability of each value of the vocabulary; not used for texts and numbers.
    """
    targets = list(target["given"][rows])
    if layer.label_type in ("number", "numbers"):
        return Numbers(rows, _numbers(targets), _numbers(labels))
    if "text" in target:
        return Texts(rows, targets, labels, *layer.compare(targets, labels))
    exclusive = layer.label_type == "string"
    if exclusive:
        targets, labels = [[value] for value in targets], [[value] for value in labels]
    names, target_hot, label_hot = _hot(vocabulary, targets, labels)
    whole = np.zeros(label_hot.shape)
    whole[:, : len(vocabulary)] = scores
    return Classes(
        rows=rows,
        names=names,
        targets=target_hot,
        predictions=label_hot,
        scores=whole,
        exclusive=exclusive,
        fitted=len(vocabulary),
    )


def has_value(target: Mapping[str, Any]) -> np.ndarray:
    """bool[N]: which records were given a value of a field, by the entry "given" beside its tensors."""
    return np.array([value is not None for value in target["given"]], bool)


def taken(outcome: AnyOutcome, positions: np.ndarray) -> AnyOutcome:
    """Select rows of an outcome by their positions in it, int[M]; a row may be taken several times."""
    selected: dict[str, Any] = {}
    for field in dataclasses.fields(outcome):
        value = getattr(outcome, field.name)
        if isinstance(value, np.ndarray):
            selected[field.name] = value[positions]
        elif isinstance(outcome, Texts):
            selected[field.name] = [value[position] for position in positions]
    return dataclasses.replace(outcome, **selected)


def metrics_of(head: Any, outcome: Outcome, rows: np.ndarray | None = None) -> dict[str, float]:
    """Compute the metrics of a head.

    Args:
        head: the layer of the head.
        outcome: the head's outcome, from `Predictions.outcome`.
        rows: the rows of the split that count, int[M]; a row may occur several times. All by default.
    """
    if rows is not None:
        places = np.searchsorted(outcome.rows, rows)
        held = places < len(outcome.rows)
        held[held] = outcome.rows[places[held]] == rows[held]
        outcome = taken(outcome, places[held])
    return {key: float(value) for key, value in head.evaluate(outcome).items()}


@dataclasses.dataclass(frozen=True)
class HeadMetrics:
    """The metrics of a head as a function of records, for `mmstream.evaluation.intervals`.

    Attributes:
        head: the layer of the head.
        outcome: its labels and targets.
        places: int[N], the place of each record in the outcome, -1 for those without a target.
    """

    head: Any
    outcome: Outcome
    places: np.ndarray

    @classmethod
    def of(cls, head: Any, outcome: Outcome, rows: np.ndarray | None = None) -> HeadMetrics:
        """The metrics over some rows of the split, int[N]; by default those of the outcome."""
        rows = outcome.rows if rows is None else rows
        places = np.searchsorted(outcome.rows, rows)
        held = places < len(outcome.rows)
        held[held] = outcome.rows[places[held]] == rows[held]
        return cls(head, outcome, np.where(held, places, -1))

    def __call__(self, records: np.ndarray) -> dict[str, float]:
        """The metrics of the records with these numbers, int[M]."""
        places = self.places[records]
        return metrics_of(self.head, taken(self.outcome, places[places >= 0]))

    def resampled(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """{metric: float[R]} of many resamples, int[R, M]; NaN where a metric is undefined."""
        if not hasattr(self.head, "evaluate_resamples"):
            return stacked([self(draw) for draw in draws])
        size = len(self.outcome.rows)
        counts = [np.bincount(self.places[draw] + 1, minlength=size + 1)[1:] for draw in draws]
        return dict(self.head.evaluate_resamples(self.outcome, np.stack(counts).astype(np.int32)))


def unseen(outcome: Outcome) -> int:
    """The number of rows whose target is not in the vocabulary, so that no prediction for them can be right."""
    return int(outcome.targets[:, outcome.fitted :].any(1).sum()) if isinstance(outcome, Classes) else 0


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """float[N, K] of numbers or lists of them; NaN for one that is missing."""
    rows = [value if isinstance(value, list) else [value] for value in values]
    numbers = np.array([[np.nan if number is None else number for number in row] for row in rows], float)
    return numbers if rows else np.zeros((0, 1))


def _hot(
    vocabulary: Sequence[str], targets: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of all C classes, the vocabulary's first; and targets and labels as multi-hot bool[N, C]."""
    index = {name: number for number, name in enumerate(vocabulary)}
    for name in sorted({name for values in (*targets, *labels) for name in values} - index.keys()):
        index[name] = len(index)

    def hot(rows: Sequence[Sequence[str]]) -> np.ndarray:
        array = np.zeros((len(rows), len(index)), bool)
        for row, values in enumerate(rows):
            array[row, [index[name] for name in values]] = True
        return array

    return list(index), hot(targets), hot(labels)
