"""Models for baselines, which need no network.

The most frequent value or the mean; a linear model of TF-IDF, of colours or of tabular values; a weighted sum of such
models; and for heads that write texts, the text of the nearest training record.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import sparse
from scipy.optimize import nnls
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import ComplementNB
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from mmstream.evaluation.linear_models import FeatureSets, Outputs
from mmstream.evaluation.products import products
from mmstream.evaluation.simple_features import Records

Effort = Literal["fast", "all"]
"""Which baselines are computed: `all` adds models that take longer to fit."""
_COMPARED_AT_ONCE = 1_024
"""How many records are compared with all training records at a time, which bounds the memory."""
_MOST_VALUES = 2_000
"""The most values of a vocabulary that baselines predict; the most frequent ones, which come first."""
_STEEPNESS = 8.0
"""Turns the outputs of a linear model, about 0 or 1, into scores between 0 and 1."""
_SLOW = {
    "logistic regression": lambda: LogisticRegression(C=10, max_iter=300),
    "linear SVM": LinearSVC,
    "naive Bayes": ComplementNB,
}
"""What `all` adds for classes and tags that are predicted from text."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What a head predicts, as baselines see it.

    Attributes:
        field: the field that is predicted.
        reads: the fields that the head reads.
        label_type: the type of the head's labels.
        is_text: whether the field is text, so that the head writes texts.
        vocabulary: the values that training knows.
    """

    field: str
    reads: Sequence[str]
    label_type: str
    is_text: bool
    vocabulary: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Guess:
    """What a baseline predicts for the N records of a split.

    Attributes:
        labels: N labels, in the form that the head gives them.
        scores: float[N, V], a score for each value of the vocabulary; float[N, 0] if labels are not such values.
    """

    labels: Sequence[Any]
    scores: np.ndarray


class Baselines:
    """The baselines of heads, fitted to the training split; they predict another.

    Args:
        splits: "train"; "validation", which decides penalties, weights and thresholds, if there is one; and the split
            that is predicted.
        split: the name of the split that is predicted.
        effort: "fast" or "all".

    Attributes:
        features: the features of the records.
    """

    def __init__(self, splits: Mapping[str, Records], split: str, effort: Effort) -> None:
        self._splits = [splits["train"], splits.get("validation") or splits["train"].none(), splits[split]]
        self.features = FeatureSets(self._splits)
        self._effort = effort

    def guesses(self, target: Target) -> dict[str, Guess]:
        """{name of the baseline: what it predicts}, the simplest first; {} if no training record has a target."""
        known = np.flatnonzero([value is not None for value in self._splits[0].given[target.field]])
        if not len(known):
            return {}
        if target.is_text:
            return dict(_written(target, known, self._splits, self.features))
        if target.label_type in ("number", "numbers"):
            return dict(_Numbers(target, self._splits, self.features).guesses())
        return dict(_Classes(target, self._splits, self.features, self._effort).guesses())


class _Classes:
    """Baselines for labels that are values of a vocabulary: one of them, or any number."""

    def __init__(self, target: Target, splits: Sequence[Records], features: FeatureSets, effort: Effort) -> None:
        self._target, self._splits, self._features, self._effort = target, splits, features, effort
        self._exclusive = target.label_type == "string"
        index = {name: number for number, name in enumerate(target.vocabulary[:_MOST_VALUES])}
        self._known, self._hot = [], []
        for records in splits[:2]:
            given = records.given[target.field]
            known = [n for n, value in enumerate(given) if value is not None and self._is_known(value, index)]
            hot = np.zeros((len(known), len(index)), np.float32)
            for row, n in enumerate(known):
                hot[row, [index[name] for name in self._values(given[n]) if name in index]] = 1
            self._known.append(np.array(known, int))
            self._hot.append(hot)

    def _values(self, value: Any) -> Sequence[str]:
        return [value] if self._exclusive else value

    def _is_known(self, value: Any, index: Mapping[str, int]) -> bool:
        """Whether training can learn from a value: a class must be in the vocabulary, tags may all be unknown."""
        return not self._exclusive or value in index

    def guesses(self) -> Iterator[tuple[str, Guess]]:
        """Each baseline's name and guess."""
        count = len(self._splits[2].given[self._target.field])
        if not self._hot[0].size:
            return
        shares = self._hot[0].mean(0)
        most = np.zeros_like(shares)
        most[shares.argmax()] = 1
        yield "most frequent", self._guess(np.tile(most, (count, 1)), 0.5, np.tile(shares, (count, 1)))
        outputs: dict[str, Outputs] = {}
        for name, models in self._features.of(self._target.reads).items():
            outputs[name] = models.outputs(self._known, self._hot)
            yield name, self._decoded(*outputs[name])
            features = models.features
            if self._effort == "all" and name.startswith("TF-IDF"):
                for kind, estimator in _SLOW.items():
                    parts = [_with_short_indices(part) for part in features]
                    model = OneVsRestClassifier(estimator()).fit(parts[0][self._known[0]], self._hot[0].astype(int))
                    validation, test = (_confidence(model, part) for part in parts[1:])
                    yield f"{name}, {kind}", self._decoded(validation[self._known[1]], test)
        if len(outputs) > 1:
            yield "late fusion", self._decoded(*_weighted(list(outputs.values()), self._hot[1]))

    def _decoded(self, validation: np.ndarray, test: np.ndarray) -> Guess:
        """The guess that follows from outputs for the validation split, known records only, and the test split."""
        threshold = 0.5 if self._exclusive else _best_threshold(self._hot[1], validation)
        return self._guess(test, threshold, expit(_STEEPNESS * (test - threshold)))

    def _guess(self, outputs: np.ndarray, threshold: float, scores: np.ndarray) -> Guess:
        names = self._target.vocabulary
        scores = np.pad(scores, ((0, 0), (0, len(names) - scores.shape[1])))
        if self._exclusive:
            scores = scores / np.maximum(scores.sum(1, keepdims=True), 1e-12)
            return Guess([names[int(n)] for n in outputs.argmax(1)], scores)
        return Guess([[names[int(n)] for n in np.flatnonzero(row >= threshold)] for row in outputs], scores)


class _Numbers:
    """Baselines for labels that are numbers, in the unit of the records."""

    def __init__(self, target: Target, splits: Sequence[Records], features: FeatureSets) -> None:
        self._target, self._splits, self._features = target, splits, features
        self._single = target.label_type == "number"
        rows = [[self._values(value) for value in records.given[target.field]] for records in splits[:2]]
        count = next(len(row) for row in rows[0] if row)
        numbers = [np.array([row or [np.nan] * count for row in each], float).reshape(-1, count) for each in rows]
        self._mean = np.nanmean(numbers[0], 0)
        self._scale = np.maximum(np.nanstd(numbers[0], 0), 1e-12)
        self._numbers = [(each - self._mean) / self._scale for each in numbers]

    def _values(self, value: Any) -> list[float]:
        if value is None:
            return []
        return [np.nan if number is None else number for number in ([value] if self._single else value)]

    def guesses(self) -> Iterator[tuple[str, Guess]]:
        """Each baseline's name and guess."""
        count = len(self._splits[2].given[self._target.field])
        yield "mean", self._guess(np.zeros((count, len(self._mean))))
        known = [np.flatnonzero(~np.isnan(each).any(1)) for each in self._numbers]
        if not len(known[0]):
            return
        targets = [each[rows] for each, rows in zip(self._numbers, known, strict=True)]
        outputs: dict[str, Outputs] = {}
        for name, models in self._features.of(self._target.reads).items():
            outputs[name] = models.outputs(known, targets)
            yield name, self._guess(outputs[name][1])
        if len(outputs) > 1:
            yield "late fusion", self._guess(_weighted(list(outputs.values()), targets[1])[1])

    def _guess(self, outputs: np.ndarray) -> Guess:
        numbers = (outputs * self._scale + self._mean).tolist()
        return Guess([row[0] for row in numbers] if self._single else numbers, np.zeros((len(numbers), 0)))


def _written(
    target: Target, known: np.ndarray, splits: Sequence[Records], features: FeatureSets
) -> Iterator[tuple[str, Guess]]:
    """Texts that are copied from training: the most frequent one, and that of the nearest record by each feature."""
    given = splits[0].given[target.field]
    count = len(splits[2].given[target.field])
    none = np.zeros((count, 0))
    most = Counter(given[known].tolist()).most_common(1)[0][0]
    yield "most frequent", Guess([most] * count, none)
    for name, models in features.of(target.reads).items():
        nearest = nearest_rows(models.features[2], models.features[0][known])
        yield f"nearest by {name}", Guess(given[known][nearest].tolist(), none)


def nearest_rows(queries: sparse.csr_array, among: sparse.csr_array) -> np.ndarray:
    """int[N]: for each query, float[N, F], the nearest row by cosine among float[M, F]."""
    queries, among = sparse.csr_array(normalize(queries)), sparse.csr_array(normalize(among))
    starts = range(0, queries.shape[0], _COMPARED_AT_ONCE)
    blocks = [products(queries[start : start + _COMPARED_AT_ONCE], among).argmax(1) for start in starts]
    return np.concatenate(blocks) if blocks else np.zeros(0, int)


def _weighted(outputs: Sequence[Outputs], targets: np.ndarray) -> Outputs:
    """The weighted sum of models, with the weights, none negative, that fit the validation split best."""
    validation, test = zip(*outputs, strict=True)
    weights = np.full(len(outputs), 1 / len(outputs))
    if targets.size:
        weights, _ = nnls(np.stack([each.reshape(-1) for each in validation], 1), targets.reshape(-1))
    return np.tensordot(weights, np.stack(validation), 1), np.tensordot(weights, np.stack(test), 1)


def _best_threshold(hot: np.ndarray, outputs: np.ndarray) -> float:
    """The threshold with the best F1 over all tags together; 0.5 if there is nothing to choose it by."""
    if not hot.any():
        return 0.5
    precision, recall, thresholds = precision_recall_curve(hot.reshape(-1), outputs.reshape(-1))
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[f1[:-1].argmax()])


def _with_short_indices(features: sparse.csr_array) -> sparse.csr_array:
    """The same with int32 indices: liblinear, on which scikit-learn's models build, takes no others."""
    indices, pointers = (part.astype(np.int32) for part in (features.indices, features.indptr))
    return sparse.csr_array((features.data, indices, pointers), shape=features.shape)


def _confidence(model: OneVsRestClassifier, features: sparse.csr_array) -> np.ndarray:
    """float[N, V]: about 1 where a class is likely, about 0 where it is not."""
    if not features.shape[0]:
        return np.zeros((0, len(model.classes_)))
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(features))
    return np.asarray(expit(model.decision_function(features)))
