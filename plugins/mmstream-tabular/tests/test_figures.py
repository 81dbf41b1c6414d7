"""Figures of heads are what scikit-learn says of their labels, whatever records were given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmstream_tabular.heads import Classification, Tagging
from mmstream_tabular.regression import Regression
from sklearn import metrics

from mmstream.evaluation.outcomes import TrainedHead, outcome_of
from mmstream.interfaces import Fitted

NAMES = ("cat", "dog", "猫")
RAREST = NAMES[-1]
"""The rarest third of three classes."""
NAME = st.sampled_from([*NAMES, "never", "seen"])
WAYS = ("micro", "macro")
NUMBER = st.one_of(st.none(), st.floats(-1e6, 1e6))


def figures_of(head: Any, predictions: dict, values: list, fitted: Fitted, calibration: dict) -> tuple[dict, list]:
    """Metrics of a head, and pairs of what each record was given and its label."""
    given_values = np.full(len(values), None, object)
    given_values[:] = values
    target = {"given": given_values, "present": np.ones(len(values), np.float32)}
    labels = [label for label, _ in head.decode(predictions, fitted, calibration)]
    pairs = [pair for pair in zip(values, labels, strict=True) if pair[0] is not None]
    return head.evaluate(outcome_of(TrainedHead(head, fitted, calibration), predictions, target)), pairs


def logits(seed: int, count: int) -> dict[str, np.ndarray]:
    return {"logits": np.random.default_rng(seed).normal(size=(count, len(NAMES))).astype(np.float32)}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), NAME), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_of_classes(values, seed):
    found, pairs = figures_of(Classification(3), logits(seed, len(values)), values, Fitted(NAMES), {})
    if not pairs:
        assert found == {}
        return
    wanted, labels = zip(*pairs, strict=True)
    f1 = metrics.f1_score(wanted, labels, average="macro", zero_division=0)
    recalls = metrics.recall_score(wanted, labels, labels=sorted(set(wanted)), average="macro", zero_division=0)
    expected = {"accuracy": metrics.accuracy_score(wanted, labels), "macro_f1": f1, "balanced_accuracy": recalls}
    if RAREST in wanted:
        rare = metrics.recall_score(wanted, labels, labels=[RAREST], average="macro", zero_division=0)
        expected["rare_recall"] = rare
    assert found == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.lists(NAME, unique=True)), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
@example([[], []], 67956)
def test_of_tags(values, seed):
    head, predictions, calibration = Tagging(3), logits(seed, len(values)), {"thresholds": [0.4, 0.5, 0.6]}
    found, pairs = figures_of(head, predictions, values, Fitted(NAMES), calibration)
    names = sorted({tag for pair in pairs for tags in pair for tag in tags})
    expected = {}
    if names:
        wanted, labels = (np.array([[name in pair[side] for name in names] for pair in pairs]) for side in (0, 1))
        if len(names) == 1:  # of one column, scikit-learn would take an absent tag for a class of its own
            alone = metrics.f1_score(wanted[:, 0], labels[:, 0], zero_division=0)
            expected = {f"{way}_f1": alone for way in WAYS}
        else:
            expected = {f"{way}_f1": metrics.f1_score(wanted, labels, average=way, zero_division=0) for way in WAYS}
    there = [row for row, value in enumerate(values) if value is not None]
    scores = head.probabilities(predictions)[there]
    hot = np.array([[name in values[row] for name in NAMES] for row in there], bool).reshape(-1, len(NAMES))
    if hot.any():
        each = [metrics.average_precision_score(hot[:, n], scores[:, n]) for n in range(len(NAMES)) if hot[:, n].any()]
        expected["map"] = float(np.mean(each))
    if hot[:, -1].any():
        right = [RAREST in label for value, label in pairs if RAREST in value]
        expected["rare_recall"] = float(np.mean(right))
    assert found == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.tuples(NUMBER, NUMBER)), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_of_numbers(rows, seed):
    values = [None if row is None or row == (None, None) else list(row) for row in rows]
    random = np.random.default_rng(seed)
    predictions = {name: random.normal(size=(len(rows), 2)).astype(np.float32) for name in ("values", "deviations")}
    fitted = Fitted(statistics={"offset": (5.0, -1.0), "factor": (2.0, 300.0)})
    found, pairs = figures_of(Regression(2), predictions, values, fitted, {"stretch": [1.0, 1.0]})
    expected: dict[str, list[float]] = {"mae": [], "r2": []}
    for column in (0, 1):
        known = [(value[column], label[column]) for value, label in pairs if value[column] is not None]
        if known:
            expected["mae"].append(metrics.mean_absolute_error(*zip(*known, strict=True)))
        if len(known) > 1:
            expected["r2"].append(metrics.r2_score(*zip(*known, strict=True)))
    assert found == pytest.approx({name: np.mean(each) for name, each in expected.items() if each})
