"""The records whose given label fits least: where people find their own mistakes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls
from sklearn.preprocessing import normalize

from mmstream.evaluation.checked_records import CheckedRecords, measured_records, training_records
from mmstream.evaluation.label_quality import CheckedValues, quality_of
from mmstream.evaluation.leave_one_out import Expected, leave_one_out
from mmstream.evaluation.predictions import Predictions
from mmstream.evaluation.similarities import similarities_of
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel

FILE = "doubtful_labels.jsonl"
_MOST = 1_000
"""The most records that are listed for a head and a split."""
_NEIGHBOURS = 10
_AT_ONCE = 256
"""How many records are compared with all training records at a time, which bounds the memory."""
_LEAST = 1e-6
"""Relative to the squares of what models expect: makes equal models solvable."""
_SIMPLE, _NEAR, _NETWORK = 2.0, 1.0, 1.0
"""The weights of what simple models, neighbours and the network expect."""


@dataclasses.dataclass(frozen=True)
class Doubt:
    """A record whose label is doubted.

    Attributes:
        head: the head that predicts this label.
        split: the split of the record.
        id: the id of the record.
        row: its number in the split.
        given: the label that it was given: a class, or tags.
        suggested: the label that is likelier; of tags, one is replaced.
        doubted: the given class or tag in question; "" if a record has no tag.
        likelier: the class or tag that is likelier; "" if a record has every tag.
        doubted_probability: about the probability of the former; None without one.
        likelier_probability: that of the latter.
        score: 0 to 0.5; the lower, the more it is doubted.
    """

    head: str
    split: str
    id: str
    row: int
    given: str | Sequence[str]
    suggested: str | Sequence[str]
    doubted: str
    likelier: str
    doubted_probability: float | None
    likelier_probability: float | None
    score: float


def find_doubtful(predictions: Predictions, examples_path: str, split: str, most: int) -> list[Doubt]:
    """Find the records of the training split and of the measured split whose label fits least.

    Simple models of words, colours, shapes and tabular values, each fitted without the record; and the labels of the
    nearest other training records in the shared space of the network say what is expected of a record. So does the
    network itself, but only for the measured split: of the training split, it may have learnt the mistakes by heart.

    Args:
        predictions: those of the measured split, by a model that was opened with embeddings.
        examples_path: output of `mmstream preprocess`.
        split: "train", "validation" or "test"; for the first, only the training split is looked at.
        most: how many records of each split are looked at: the first ones, which are a random sample.

    Returns:
        those with a likelier label, the most doubted ones first for each head and split; at most 1,000 of each. Heads
        that predict no class or tag have none, nor have those whose target has fewer than two values that at least
        five training records have.
    """
    model = predictions.model
    heads = [name for name in model.heads if _is_checked(model, name)]
    if not heads or not files.exists(files.join(examples_path, "examples", "train")):
        return []
    training = training_records(model, examples_path, heads, most)
    measured = None if split == "train" else measured_records(predictions, examples_path, split, heads, most)
    found: list[Doubt] = []
    for head in heads if len(training) else ():
        found += _of_head(model, head, training, measured, split)
    return found


def write_doubtful(folder: str, doubts: Sequence[Doubt] | None) -> None:
    """Write a JSON object for each record that is doubted, one a line.

    Args:
        folder: where the file is written.
        doubts: the records; None if no label was checked, so that there is no file.
    """
    path = files.join(folder, FILE)
    if doubts is None:
        files.remove(path)
        return
    keys = ("head", "id", "split", "given", "suggested", "score")
    lines = [json.dumps({key: getattr(doubt, key) for key in keys}, ensure_ascii=False) + "\n" for doubt in doubts]
    files.write_bytes(path, "".join(lines).encode("utf-8", "backslashreplace"))


def _is_checked(model: TrainedModel, head: str) -> bool:
    layer = model.head(head)
    return layer.label_type in ("string", "strings") and hasattr(layer, "probabilities")


def _of_head(
    model: TrainedModel, head: str, training: CheckedRecords, measured: CheckedRecords | None, split: str
) -> Iterator[Doubt]:
    """The doubted records of a head, in the training split, then in the measured one."""
    target, exclusive = model.heads[head]["target"], model.head(head).label_type == "string"
    splits = {"train": training, **({split: measured} if measured else {})}
    given: dict[str, list[Any]] = {
        name: [
            value if readable else None
            for value, readable in zip(each.records.given[target], each.readable[head], strict=True)
        ]
        for name, each in splits.items()
    }
    values = CheckedValues.of(model.fitted(head).vocabulary, given["train"], exclusive)
    if len(values.names) < 2:
        return
    chosen = {name: values.hot(each) for name, each in given.items()}
    expected = _expected(model, head, splits, chosen, values)
    for name, (rows, hot) in chosen.items():
        quality = quality_of(expected[name], hot, exclusive)
        probabilities = [quality.probability_of(columns) for columns in (quality.doubted, quality.likelier)]
        order = np.argsort(quality.scores, kind="stable")[:_MOST]
        for place in order[quality.scores[order] < 0.5]:
            doubted, likelier = (
                values.names[columns[place]] if columns[place] >= 0 else ""
                for columns in (quality.doubted, quality.likelier)
            )
            row = int(rows[place])
            label = given[name][row]
            yield Doubt(
                head=head,
                split=name,
                id=splits[name].ids[row],
                row=row,
                given=label,
                suggested=likelier if exclusive else _replaced(label, doubted, likelier),
                doubted=doubted,
                likelier=likelier,
                doubted_probability=_number(probabilities[0][place]),
                likelier_probability=_number(probabilities[1][place]),
                score=round(float(quality.scores[place]), 6),
            )


def _replaced(tags: Sequence[str], doubted: str, likelier: str) -> list[str]:
    """Tags with one of them replaced; without one, the other is added."""
    replaced = [likelier if tag == doubted else tag for tag in tags]
    return [tag for tag in (replaced if doubted else [*replaced, likelier]) if tag]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _expected(
    model: TrainedModel,
    head: str,
    splits: Mapping[str, CheckedRecords],
    chosen: Mapping[str, tuple[np.ndarray, np.ndarray]],
    values: CheckedValues,
) -> dict[str, np.ndarray]:
    """{split: float[N, K]}: about the probability of each value for the chosen records, int[N]."""
    parts = list(splits.values())
    rows, hot = [each for each, _ in chosen.values()], chosen["train"][1].astype(np.float32)
    others = len(rows[1]) if len(rows) > 1 else 0
    measured = parts[1] if len(parts) > 1 else None
    likenesses = similarities_of(parts[0], measured, model.heads[head]["reads"], rows)
    simple = _weighted([leave_one_out(each, hot, others) for each in likenesses.values()], hot)
    vectors = [normalize(part.vectors[head][which]) for part, which in zip(parts, rows, strict=True)]
    sums = {"train": _NEAR * _labels_nearby(vectors[0], vectors[0], hot, leave_out=True)}
    weights = {"train": _NEAR}
    for name, part, which, vector in zip(list(splits)[1:], parts[1:], rows[1:], vectors[1:], strict=True):
        nearby = _labels_nearby(vector, vectors[0], hot, leave_out=False)
        sums[name] = _NEAR * nearby + _NETWORK * part.probabilities[head][which][:, values.places]
        weights[name] = _NEAR + _NETWORK
    if simple:
        for name, by_simple in zip(splits, simple, strict=False):
            sums[name] = sums[name] + _SIMPLE * by_simple
            weights[name] += _SIMPLE
    return {name: sums[name] / weights[name] for name in splits}


def _weighted(each: Sequence[Expected], hot: np.ndarray) -> Expected | None:
    """The weighted sum of what models expect, with the weights, none negative, that fit the training records best."""
    if not each:
        return None
    columns = [expected.within.reshape(-1) for expected in each]
    products = np.array([[np.vdot(one, other) for other in columns] for one in columns], float)
    root = cholesky(products + _LEAST * np.trace(products) * np.eye(len(columns)))
    weights, _ = nnls(root, solve_triangular(root, [np.vdot(one, hot) for one in columns], trans="T"))
    within, beyond = (np.tensordot(weights, np.stack(part), 1) for part in zip(*each, strict=True))
    return Expected(within, beyond)


def _labels_nearby(queries: np.ndarray, among: np.ndarray, hot: np.ndarray, *, leave_out: bool) -> np.ndarray:
    """float[N, K]: the shares of values among the ten nearest training records, by cosine.

    Args:
        queries: float[N, D], of length 1.
        among: float[M, D], the training records.
        hot: float[M, K], their values.
        leave_out: whether the queries are these records, and none is a neighbour of itself.
    """
    count = min(_NEIGHBOURS, len(among) - leave_out)
    shares = np.zeros((len(queries), hot.shape[1]), np.float32)
    for start in range(0, len(queries) if count else 0, _AT_ONCE):
        near = queries[start : start + _AT_ONCE] @ among.T
        if leave_out:
            near[np.arange(len(near)), start + np.arange(len(near))] = -np.inf
        nearest = np.argpartition(-near, count - 1, axis=1)[:, :count]
        shares[start : start + _AT_ONCE] = hot[nearest].mean(1)
    return shares
