"""Weights of a deep network and of linear models, fitted to the validation split."""

from __future__ import annotations

import numpy as np
import pytest
from mmstream_tabular.heads import Classification, Tagging

from mmstream.evaluation.outcomes import TrainedHead, metrics_of, outcome_of
from mmstream.interfaces import RESERVED_IDS, Fitted
from mmstream.training.stacking import Stack

RECORDS, VALUES = 300, 20
NAMES = tuple(f"value {n}" for n in range(VALUES))


def stack_of(head, hot, deep, linear):
    given = np.empty(len(hot), object)
    for n, row in enumerate(hot):
        given[n] = NAMES[row.argmax()] if head.label_type == "string" else [NAMES[k] for k in np.flatnonzero(row)]
    target = {
        "hot": hot.astype(np.float32),
        "id": hot.argmax(1) + RESERVED_IDS,
        "present": np.ones(len(hot), np.float32),
    }
    deep = {"logits": deep.astype(np.float32)}
    return Stack(TrainedHead(head, Fitted(NAMES), {}), deep, linear, {**target, "given": given})


def ranking(stack, logits):
    predictions = {"logits": logits.astype(np.float32)}
    layer = stack.head.layer
    trained = TrainedHead(layer, stack.head.fitted, layer.calibrate(predictions, stack.target))
    return metrics_of(layer, outcome_of(trained, predictions, stack.target))["map"]


def test_a_network_that_knows_only_how_rare_tags_are_does_not_spoil_their_ranking():
    random = np.random.default_rng(1)
    rarity = np.linspace(-5, 0, VALUES)
    evidence = random.normal(size=(RECORDS, VALUES))
    hot = rarity + 3 * evidence + random.logistic(size=(RECORDS, VALUES)) > 0
    deep = rarity + 1.5 * random.normal(size=(RECORDS, VALUES))
    linear = 1 / (1 + np.exp(-3 * evidence))
    stack = stack_of(Tagging(VALUES), hot, deep, [linear])
    weights = stack.weights()
    assert weights[0] < 0.3
    assert ranking(stack, weights[0] * deep + weights[1] + weights[2] * linear) >= ranking(stack, linear) - 0.005


def test_what_only_the_network_knows_is_kept():
    random = np.random.default_rng(1)
    deep = 3 * random.normal(size=(RECORDS, VALUES))
    hot = deep - 4 + random.logistic(size=(RECORDS, VALUES)) > 0
    weights = stack_of(Tagging(VALUES), hot, deep - 4, [random.random((RECORDS, VALUES))]).weights()
    assert weights[0] == pytest.approx(1, abs=0.3)


def test_classes_get_the_likeliest_weights():
    random = np.random.default_rng(1)
    deep, linear = (random.normal(size=(RECORDS, VALUES)) for _ in range(2))
    hot = np.eye(VALUES)[(deep + 2 * linear + random.gumbel(size=deep.shape)).argmax(1)]
    weights = stack_of(Classification(VALUES), hot, deep, [linear]).weights()
    assert weights[[0, 2]] == pytest.approx([1, 2], abs=0.4)
