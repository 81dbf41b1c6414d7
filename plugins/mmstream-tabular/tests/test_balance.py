"""What heads learn from classes and tags of which some are rare, and how well they do on these."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from mmstream_tabular.balance import recalls
from mmstream_tabular.heads import Classification, Tagging

from mmstream.interfaces import RESERVED_IDS

COUNTS = np.array([60.0, 30.0, 10.0])
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], np.float32)
TARGET = {"id": np.array([0, 2], np.int64) + RESERVED_IDS, "present": np.ones(2, np.float32)}


def losses(head, predictions: np.ndarray, target: dict) -> list[float]:
    return keras.ops.convert_to_numpy(head.loss({"logits": predictions}, target)).tolist()


def balanced(kind: type, balance: str, counts: np.ndarray = COUNTS, **parameters):
    head = kind(len(counts), balance=balance, **parameters)
    head.set_class_counts(counts)
    return head


def test_class_weights_are_inverse_frequencies_and_leave_the_mean_of_all_examples_as_it_is():
    found = losses(balanced(Classification, "class_weights"), np.log(PROBABILITIES), TARGET)
    assert found == pytest.approx([-np.log(0.7) * 100 / 180, -np.log(0.6) * 100 / 30], rel=1e-5)
    every = {"id": np.arange(3) + RESERVED_IDS, "present": np.ones(3, np.float32)}
    each = losses(balanced(Classification, "class_weights"), np.zeros((3, 3), np.float32), every)
    assert np.average(each, weights=COUNTS) == pytest.approx(np.log(3), rel=1e-5)


def test_focal_loss_weighs_less_what_is_classified_well():
    found = losses(Classification(3, balance="focal"), np.log(PROBABILITIES), TARGET)
    assert found == pytest.approx([-np.log(0.7) * 0.3**2, -np.log(0.6) * 0.4**2], rel=1e-4)


def test_adjusted_logits_have_the_frequencies_taken_out_of_them():
    head = balanced(Classification, "logit_adjustment")
    adjusted = PROBABILITIES * COUNTS / (PROBABILITIES * COUNTS).sum(1, keepdims=True)
    assert losses(head, np.log(PROBABILITIES), TARGET) == pytest.approx(-np.log(adjusted[[0, 1], [0, 2]]), rel=1e-5)
    assert head.probabilities({"logits": np.log(PROBABILITIES)}) == pytest.approx(PROBABILITIES), "labels have none"


def test_with_equal_frequencies_nothing_is_to_be_balanced():
    plain = losses(Classification(3), np.log(PROBABILITIES), TARGET)
    for balance in ("class_weights", "logit_adjustment"):
        head = balanced(Classification, balance, np.full(3, 7.0))
        assert losses(head, np.log(PROBABILITIES), TARGET) == pytest.approx(plain, rel=1e-5)
    hot = {"hot": np.array([[1, 0, 1], [0, 0, 0]], np.uint8), "present": np.ones(2, np.float32)}
    head = balanced(Tagging, "positive_weights", np.full(3, 7.0))
    assert losses(head, PROBABILITIES, hot) == pytest.approx(losses(Tagging(3), PROBABILITIES, hot), rel=1e-5)


def test_positive_weights_are_for_the_tags_that_a_record_has():
    hot = {"hot": np.array([[1, 0, 1], [0, 0, 0]], np.uint8), "present": np.ones(2, np.float32)}
    odds = np.log(PROBABILITIES / (1 - PROBABILITIES))
    first = -np.log(0.7) * 100 / 180 - np.log(0.8) - np.log(0.1) * 100 / 30
    expected = [first / 2, -np.log(0.9 * 0.7 * 0.4)]
    assert losses(balanced(Tagging, "positive_weights"), odds, hot) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "balance"),
    [(Classification, "class_weights"), (Classification, "logit_adjustment"), (Tagging, "positive_weights")],
)
def test_what_needs_frequencies_does_not_go_without(kind, balance):
    assert kind.needs_class_counts({"balance": balance})
    assert not kind.needs_class_counts({})
    target = {**TARGET, "hot": np.zeros((2, 3), np.uint8)}
    with pytest.raises(ValueError, match=f"balance: {balance} needs the frequencies of the classes"):
        kind(3, balance=balance).loss({"logits": PROBABILITIES}, target)


def test_recalls_are_means_over_the_classes_that_occur():
    targets = np.eye(8, dtype=bool)[[0, 0, 0, 0, 4, 5, 5, 7]]  # six fitted classes: the rarest are 4 and 5
    predictions = np.eye(8, dtype=bool)[[0, 0, 0, 1, 0, 5, 0, 7]]
    found = recalls(targets, predictions, fitted=6)
    assert found == {"balanced_accuracy": pytest.approx((3 / 4 + 0 + 1 / 2 + 1) / 4), "rare_recall": 1 / 4}
    assert recalls(targets[:4], predictions[:4], fitted=6) == {"balanced_accuracy": 3 / 4}
    assert recalls(targets[:4, :2], predictions[:4, :2], fitted=1)["rare_recall"] == 3 / 4, "at least one is rare"
