"""Linear models for baselines: least squares with a penalty, for all targets at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from mmstream.evaluation.products import products
from mmstream.evaluation.simple_features import Features, Records

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""The weights of the penalty; the best one on the validation split is taken."""
_MOST_TRIED, _TARGETS_TRIED = 2_000, 100
"""How many training records, and how many targets, show which penalty is best."""
_MOST_EXACT = 3_000
"""Up to so many training records, models are solved exactly, through the products of records: any number of targets
then takes about as long as one."""
_MOST_PRODUCTS = 300_000_000
"""Beyond that, the most frequent targets are solved by iteration over all records, which takes time in proportion to
the entries of the features times the targets: this product is bounded. All others learn from the first records only."""
_FEWEST_TARGETS = 8
_MOST_COLUMNS = 1_024
"""With at most so many features, models are solved exactly through these, over all records."""
_ITERATIONS, _TOLERANCE, _TINY = 50, np.float32(1e-3), np.float32(1e-30)

Outputs = tuple[np.ndarray, np.ndarray]
"""The outputs of a model for the records of the validation split that have a target, and for all that are predicted."""


class LinearModels:
    """Linear models of one set of features: least squares for any kind of target, as the sum of squares is cheap.

    Source: Rifkin & Klautau, "In defense of one-vs-all classification" (2004), for its use as a classifier.

    Args:
        features: sparse float[N, F] of the training split, of the validation split, and of the split that is predicted.
    """

    def __init__(self, features: Sequence[sparse.csr_array]) -> None:
        self.features = list(features)

    def outputs(self, known: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> Outputs:
        """Fit to the training split, with the penalty that is best on the validation split, and predict.

        Args:
            known: the records of the training and of the validation split that have a target.
            targets: float[N, K], the targets of these records; if there are many, the most frequent ones are first.
        """
        (rows, validation), means = known, targets[0].mean(0)
        centred, wanted = targets[0] - means, targets[1] - means
        solve = self._by_features if self.features[0].shape[1] <= _MOST_COLUMNS else self._by_records
        of_validation, of_others = solve(rows, centred, validation, wanted)
        return of_validation[validation] + means, of_others + means

    def fit(self, known: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The slopes, float[F, K], and the constants, float[K], of the model that `outputs` predicts with."""
        (rows, validation), means = known, targets[0].mean(0)
        centred, wanted = targets[0] - means, targets[1] - means
        if self.features[0].shape[1] <= _MOST_COLUMNS:
            return self._slopes(rows, centred, validation, wanted), means
        first, weights, frequent = self._solved(rows, centred, validation, wanted)
        slopes = np.asarray(self.features[0][first].T @ weights)
        slopes[:, : frequent.shape[1]] = frequent
        return slopes, means

    def _by_features(
        self, rows: np.ndarray, targets: np.ndarray, validation: np.ndarray, wanted: np.ndarray
    ) -> Outputs:
        """The outputs for all records of both splits, solved through the products of features."""
        slopes = self._slopes(rows, targets, validation, wanted)
        of_validation, of_others = (_outputs(features, slopes) for features in self.features[1:])
        return of_validation, of_others

    def _slopes(self, rows: np.ndarray, targets: np.ndarray, validation: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """float64[F, K], with the best penalty."""
        train, held_out = (self.features[n][chosen].toarray() for n, chosen in ((0, rows), (1, validation)))
        among, right = train.T @ train, train.T @ targets

        def slopes(penalty: float) -> np.ndarray:
            return np.asarray(cho_solve(cho_factor(among + penalty * np.eye(len(among))), right))

        return slopes(_best_penalty(lambda penalty: held_out @ slopes(penalty), wanted))

    def _by_records(self, rows: np.ndarray, targets: np.ndarray, validation: np.ndarray, wanted: np.ndarray) -> Outputs:
        """The same through the products of records."""
        first, weights, slopes = self._solved(rows, targets, validation, wanted)
        outputs = [each[:, first] @ weights for each in self._products[1:]]
        for output, features in zip(outputs, self.features[1:], strict=True):
            output[:, : slopes.shape[1]] = _outputs(features, slopes)
        return outputs[0], outputs[1]

    def _solved(
        self, rows: np.ndarray, targets: np.ndarray, validation: np.ndarray, wanted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The first records, int[N], and their weights, float[N, K]; and the slopes of those targets that are solved
        over all records, float[F, the first targets], none if these are the first ones.
        """
        first = rows[rows < _MOST_EXACT]
        tried, few = first[:_MOST_TRIED], slice(_TARGETS_TRIED)

        def tried_outputs(penalty: float) -> np.ndarray:
            weights = self._weights(tried, targets[: len(tried), few], penalty)
            return np.asarray(self._products[1][np.ix_(validation, tried)] @ weights)

        best = _best_penalty(tried_outputs, wanted[:, few])
        weights = self._weights(first, targets[: len(first)], best)
        if len(first) == len(rows):
            return first, weights, np.zeros((self.features[0].shape[1], 0))
        count = min(targets.shape[1], max(_MOST_PRODUCTS // max(self.features[0].nnz, 1), _FEWEST_TARGETS))
        return first, weights, conjugate_gradients(self.features[0][rows], targets[:, :count], best)

    def _weights(self, rows: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
        """The weights of training records, float64[N, K]."""
        if not len(rows):
            return np.zeros(targets.shape)
        penalised = self._products[0][np.ix_(rows, rows)] + penalty * np.eye(len(rows))
        return np.asarray(cho_solve(cho_factor(penalised, overwrite_a=True), targets))

    @functools.cached_property
    def _products(self) -> list[np.ndarray]:
        """The products of the records of each split with the first training records."""
        train = self.features[0][:_MOST_EXACT]
        none = np.zeros((0, train.shape[0]))
        others = (products(each, train) if each.shape[0] else none for each in self.features[1:])
        return [products(train, train, np.float64), *others]


def _best_penalty(outputs: Callable[[float], np.ndarray], wanted: np.ndarray) -> float:
    """The penalty with the least sum of squares on the validation split, float[N, K]; without one, a middle penalty."""
    if not len(wanted):
        return PENALTIES[2]
    return min(PENALTIES, key=lambda penalty: float(np.square(outputs(penalty) - wanted).sum()))


def _outputs(features: Any, slopes: np.ndarray) -> np.ndarray:
    """float[N, K]; of a split without records, nothing is known, not even the number of its features."""
    return np.asarray(features @ slopes) if features.shape[0] else np.zeros((0, slopes.shape[1]))


def conjugate_gradients(features: sparse.csr_array, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Least squares with a penalty on the squares of the slopes: float[N, F], float[N, K] → the slopes, float32[F, K].

    Source: Hestenes & Stiefel, "Methods of conjugate gradients for solving linear systems" (1952); here for the normal
    equations.
    """
    features, targets = features.astype(np.float32), targets.astype(np.float32)
    transposed = sparse.csr_array(features.T)
    slopes = np.zeros((features.shape[1], targets.shape[1]), np.float32)
    residual = transposed @ targets
    direction, square = residual.copy(), np.square(residual).sum(0)
    enough = square * _TOLERANCE**2
    for _ in range(_ITERATIONS):
        if (square <= enough).all():
            break
        image = transposed @ (features @ direction) + penalty * direction
        step = square / np.maximum((direction * image).sum(0), _TINY)
        slopes += step * direction
        residual -= step * image
        before, square = square, np.square(residual).sum(0)
        direction = residual + square / np.maximum(before, _TINY) * direction
    return slopes


class FeatureSets:
    """The features of records, made once for all heads.

    Args:
        splits: the training split, the validation split, and the split that is predicted.
    """

    def __init__(self, splits: Sequence[Records]) -> None:
        self._splits = splits
        self._columns = splits[0].columns
        self._makers: dict[str, Features] = {}
        self._made: dict[tuple[str, ...], LinearModels] = {}

    def of(self, fields: Sequence[str]) -> dict[str, LinearModels]:
        """{the name of a set of features: its models} for the fields that a head reads; tabular fields make one set."""
        useful = [name for name in fields if self.has(name)]
        titles = {"text": "TF-IDF of {}", "picture": "colours of {}"}
        sets = {
            titles[self._columns[name].kind].format(name): self._models((name,))
            for name in useful
            if self._columns[name].kind in titles
        }
        table = tuple(name for name in useful if self._columns[name].kind not in titles)
        return sets | ({f"linear model of {', '.join(table)}": self._models(table)} if table else {})

    def has(self, field: str) -> bool:
        """Whether there are features of a field."""
        return field in self._columns and self._columns[field].has_features

    def is_text(self, field: str) -> bool:
        """Whether a field is text."""
        return self._columns[field].kind == "text"

    def both_in_training(self, one: str, other: str) -> np.ndarray:
        """int[M]: the training records that have both fields."""
        return np.flatnonzero(self._columns[one].present & self._columns[other].present)

    def vectors(self, field: str, like: str = "") -> list[sparse.csr_array]:
        """The features of a field in each split, sparse float[N, F].

        Args:
            field: the field.
            like: another text field, whose features are made of this field's texts.
        """
        maker = self._maker(like or field)
        return [maker(split.columns[field]) for split in self._splits] if like else self._models((field,)).features

    def _maker(self, field: str) -> Features:
        if field not in self._makers:
            self._makers[field] = Features(self._columns[field])
        return self._makers[field]

    def _models(self, fields: tuple[str, ...]) -> LinearModels:
        if fields not in self._made:
            parts = [[self._maker(name)(split.columns[name]) for name in fields] for split in self._splits]
            self._made[fields] = LinearModels([sparse.csr_array(sparse.hstack(each, "csr")) for each in parts])
        return self._made[fields]
