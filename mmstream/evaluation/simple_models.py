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
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import precision_recall_curve
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import ComplementNB
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from mmstream.evaluation.simple_features import Features, Records

Effort = Literal["fast", "all"]
"""Which baselines are computed: `all` adds models that take longer to fit."""
_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""The weights of the penalty of a linear model; the best one on the validation split is taken."""
_ITERATIONS = 100
_COMPARED_AT_ONCE = 256
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


def guesses(target: Target, splits: Mapping[str, Records], split: str, effort: Effort) -> dict[str, Guess]:
    """Fit the baselines of a head to the training split, and let them predict another.

    Args:
        target: what the head predicts.
        splits: "train"; "validation", which decides penalties, weights and thresholds, if there is one; and the split
            that is predicted.
        split: the name of the split that is predicted.
        effort: "fast" or "all".

    Returns:
        {name of the baseline: what it predicts}, the simplest first; {} if no training record has a target.
    """
    train, test = splits["train"], splits[split]
    known = np.flatnonzero([value is not None for value in train.given[target.field]])
    if not len(known):
        return {}
    if target.is_text:
        return dict(_written(target, known, train, test))
    fitted_to = [train, splits.get("validation") or train.none(), test]
    is_number = target.label_type in ("number", "numbers")
    return dict((_Numbers(target, fitted_to) if is_number else _Classes(target, fitted_to, effort)).guesses())


def _columns(target: Target, records: Sequence[Records]) -> Iterator[tuple[str, list[sparse.csr_array]]]:
    """The name of each set of features that a head's fields have, and the features of each of some splits."""
    columns = {name: [each.columns[name] for each in records] for name in target.reads if name in records[0].columns}
    titles = {"text": "TF-IDF of {}", "picture": "colours of {}"}
    table: dict[str, list[sparse.csr_array]] = {}
    for name, parts in columns.items():
        if not parts[0].has_features:
            continue
        features = Features(parts[0])
        if parts[0].kind == "table":
            table[name] = [features(part) for part in parts]
        else:
            yield titles[parts[0].kind].format(name), [features(part) for part in parts]
    if table:
        joined = [sparse.csr_array(sparse.hstack(parts, "csr")) for parts in zip(*table.values(), strict=True)]
        yield f"linear model of {', '.join(table)}", joined


class _Classes:
    """Baselines for labels that are values of a vocabulary: one of them, or any number."""

    def __init__(self, target: Target, splits: Sequence[Records], effort: Effort) -> None:
        self._target, self._splits, self._effort = target, splits, effort
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
        outputs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, features in _columns(self._target, self._splits):
            outputs[name] = _linear(features, self._known, self._hot)
            yield name, self._decoded(*outputs[name])
            if self._effort == "all" and name.startswith("TF-IDF"):
                for kind, estimator in _SLOW.items():
                    model = OneVsRestClassifier(estimator()).fit(features[0][self._known[0]], self._hot[0].astype(int))
                    validation, test = (_confidence(model, part) for part in features[1:])
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

    def __init__(self, target: Target, splits: Sequence[Records]) -> None:
        self._target, self._splits = target, splits
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
        outputs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, features in _columns(self._target, self._splits):
            outputs[name] = self._fit(features)
            yield name, self._guess(outputs[name][1])
        if len(outputs) > 1:
            known = ~np.isnan(self._numbers[1]).any(1)
            fused = [(validation[known], test) for validation, test in outputs.values()]
            yield "late fusion", self._guess(_weighted(fused, self._numbers[1][known])[1])

    def _fit(self, features: Sequence[sparse.csr_array]) -> tuple[np.ndarray, np.ndarray]:
        """The outputs for all records of the validation split and of the test split."""
        columns = []
        for number in range(len(self._mean)):
            known = [np.flatnonzero(~np.isnan(each[:, number])) for each in self._numbers]
            targets = [each[rows, number : number + 1] for each, rows in zip(self._numbers, known, strict=True)]
            model = _best_ridge(features, known, targets)
            columns.append([_outputs(model, each) for each in features[1:]])
        validation, test = (np.concatenate(parts, 1) for parts in zip(*columns, strict=True))
        return validation, test

    def _guess(self, outputs: np.ndarray) -> Guess:
        numbers = (outputs * self._scale + self._mean).tolist()
        return Guess([row[0] for row in numbers] if self._single else numbers, np.zeros((len(numbers), 0)))


def _written(target: Target, known: np.ndarray, train: Records, test: Records) -> Iterator[tuple[str, Guess]]:
    """Texts that are copied from training: the most frequent one, and that of the nearest record by each feature."""
    given = train.given[target.field]
    count = len(test.given[target.field])
    none = np.zeros((count, 0))
    most = Counter(given[known].tolist()).most_common(1)[0][0]
    yield "most frequent", Guess([most] * count, none)
    for name, (seen, new) in _columns(target, [train, test]):
        new, seen = normalize(new), normalize(seen[known]).T
        blocks = (new[start : start + _COMPARED_AT_ONCE] for start in range(0, count, _COMPARED_AT_ONCE))
        nearest = np.concatenate([(block @ seen).toarray().argmax(1) for block in blocks])
        yield f"nearest by {name}", Guess(given[known][nearest].tolist(), none)


def _linear(
    features: Sequence[sparse.csr_array], known: Sequence[np.ndarray], targets: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The outputs of a linear model for the known records of the validation split, and for the test split.

    Args:
        features: those of each split.
        known: the records of the training and of the validation split that have a target.
        targets: float[N, K], the targets of these records.
    """
    model = _best_ridge(features, known, targets)
    return _outputs(model, features[1][known[1]]), _outputs(model, features[2])


def _best_ridge(
    features: Sequence[sparse.csr_array], known: Sequence[np.ndarray], targets: Sequence[np.ndarray]
) -> Ridge:
    """The linear model with the penalty that is best on the validation split: least squares for any kind of target.

    Source: Rifkin & Klautau, "In defense of one-vs-all classification" (2004), for its use as a classifier.
    """
    models = []
    for penalty in _PENALTIES if len(known[1]) else _PENALTIES[2:3]:
        ridge = Ridge(alpha=penalty, solver="sparse_cg", max_iter=_ITERATIONS, tol=1e-3)
        ridge.fit(features[0][known[0]], targets[0])
        error = np.square(_outputs(ridge, features[1][known[1]]) - targets[1]).sum()
        models.append((float(error), ridge))
    return min(models, key=lambda each: each[0])[1]


def _outputs(model: Ridge, features: sparse.csr_array) -> np.ndarray:
    """float[N, K]."""
    if not features.shape[0]:
        return np.zeros((0, np.atleast_2d(model.coef_).shape[0]))
    outputs: np.ndarray = model.predict(features).reshape(features.shape[0], -1)
    return outputs


def _weighted(outputs: Sequence[tuple[np.ndarray, np.ndarray]], targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def _confidence(model: OneVsRestClassifier, features: sparse.csr_array) -> np.ndarray:
    """float[N, V]: about 1 where a class is likely, about 0 where it is not."""
    if not features.shape[0]:
        return np.zeros((0, len(model.classes_)))
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(features))
    return np.asarray(expit(model.decision_function(features)))
