"""Linear models for baselines: least squares with a penalty, for all targets at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from sklearn.linear_model import Ridge

from mmstream.evaluation.simple_features import Features, Records

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""The weights of the penalty; the best one on the validation split is taken."""
_MOST_EXACT = 4_000
"""Up to so many training records, models are solved exactly, through the products of records: any number of targets
then takes as long as one."""
_MOST_PRODUCTS = 300_000_000
"""Beyond that, each target takes time in proportion to the entries of the features: the product of both is bounded."""
_FEWEST_TARGETS = 8
_ITERATIONS = 50

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
            known: the records of the training and of the validation split that have a target, int[N] in order.
            targets: float[N, K], the targets of these records.
        """
        means, validation = targets[0].mean(0), known[1]
        penalty, rows, dual = self._best(known, targets)
        if len(known[0]) <= len(rows):
            _, of_validation, of_others = self._products
            return of_validation[np.ix_(validation, rows)] @ dual + means, of_others[:, rows] @ dual + means
        weights = self._iterated(known[0], targets[0] - means, penalty)
        found = (self.features[1][validation], self.features[2])
        of_validation, of_others = (each @ weights if each.shape[0] else np.zeros((0, len(means))) for each in found)
        return of_validation + means, of_others + means

    def fit(self, known: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The weights, float[F, K], and the constants, float[K], of the model that `outputs` predicts with."""
        means = targets[0].mean(0)
        penalty, rows, dual = self._best(known, targets)
        if len(known[0]) <= len(rows):
            return self.features[0][rows].T @ dual, means
        return self._iterated(known[0], targets[0] - means, penalty), means

    def _best(self, known: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> tuple[float, np.ndarray, np.ndarray]:
        """The best penalty, the training records, int[N], on which it was found, and their weights, float[N, K]."""
        rows = known[0][known[0] < _MOST_EXACT]
        means, validation = targets[0].mean(0), known[1]
        among, of_validation, _ = self._products
        tried = []
        for penalty in PENALTIES if len(validation) else PENALTIES[2:3]:
            penalised = among[np.ix_(rows, rows)] + penalty * np.eye(len(rows))
            dual = cho_solve(cho_factor(penalised, overwrite_a=True), targets[0][: len(rows)] - means)
            outputs = of_validation[np.ix_(validation, rows)] @ dual + means
            tried.append((float(np.square(outputs - targets[1]).sum()), penalty, dual))
        _, penalty, dual = min(tried, key=lambda each: each[0])
        return penalty, rows, dual

    @functools.cached_property
    def _products(self) -> list[np.ndarray]:
        """The products of the records of each split with the first training records."""
        first = self.features[0][:_MOST_EXACT]
        return [
            (each @ first.T).toarray() if each.shape[0] else np.zeros((0, first.shape[0]))
            for each in (first, *self.features[1:])
        ]

    def _iterated(self, rows: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
        """The weights for many records, float[F, K]; those of targets beyond the bound, the rarest ones, are zero."""
        entries = max(self.features[0].nnz, 1)
        count = min(targets.shape[1], max(_MOST_PRODUCTS // entries, _FEWEST_TARGETS))
        ridge = Ridge(alpha=penalty, fit_intercept=False, solver="sparse_cg", max_iter=_ITERATIONS, tol=1e-3)
        ridge.fit(self.features[0][rows], targets[:, :count])
        weights: np.ndarray = np.pad(np.atleast_2d(ridge.coef_).T, ((0, 0), (0, targets.shape[1] - count)))
        return weights


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
