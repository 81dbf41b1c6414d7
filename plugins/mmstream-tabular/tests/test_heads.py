"""The heads of categories and tags: what they learn from, what they answer, and how well that is said to be."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from mmstream_tabular.heads import FEWEST_POSITIVES, Classification, Tagging
from sklearn import metrics

from mmstream.evaluation.outcomes import TrainedHead, outcome_of
from mmstream.interfaces import RESERVED_IDS, UNKNOWN, Fitted

ANIMALS = Fitted(("cat", "dog", "猫"))


def ids(*places: int | None) -> dict[str, np.ndarray]:
    """A category's tensors; None for a missing one."""
    return {
        "id": np.array([0 if place is None else RESERVED_IDS + place for place in places], np.int64),
        "present": np.array([place is not None for place in places], np.float32),
    }


def hot(*rows: list[int] | None) -> dict[str, np.ndarray]:
    """The tensors of tags; None for missing ones."""
    width = max(len(row) for row in rows if row is not None)
    return {
        "hot": np.array([row or [0] * width for row in rows], np.uint8),
        "present": np.array([row is not None for row in rows], np.float32),
    }


def logits_of(probabilities) -> dict[str, np.ndarray]:
    values = np.array(probabilities, np.float64)
    return {"logits": np.log(values / (1 - values)).astype(np.float32)}


def metrics_of(head, predictions, given: list, vocabulary=ANIMALS, calibration=None) -> dict[str, float]:
    """A head's metrics of records that were given these values, None for a missing one."""
    values = np.full(len(given), None, object)
    values[:] = given
    target = {"given": values, "present": np.array([value is not None for value in given], np.float32)}
    return head.evaluate(outcome_of(TrainedHead(head, vocabulary, calibration or {}), predictions, target))


def numbers(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


# Classification


def test_a_category_is_the_likeliest_with_its_probability():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], np.float32)) + 5
    found = Classification(3).decode({"logits": logits}, ANIMALS, {})
    assert [label for label, _ in found] == ["cat", "猫"]
    assert [score for _, score in found] == pytest.approx([0.7, 0.6], abs=1e-6)


def test_progress_tells_whether_the_likeliest_is_right():
    logits = {"logits": np.array([[2, 1, 0], [2, 1, 0], [2, 1, 0]], np.float32)}
    assert numbers(Classification(3).progress(logits, ids(0, 1, None))).tolist() == [1, 0, 0]
    tags = hot([1, 0, 1], [0, 1, 1], None)
    assert numbers(Tagging(3).progress(logits, tags)).tolist() == [1, 0, 0]


def test_very_large_logits_give_a_probability_all_the_same():
    logits = np.array([[1e30, 0, 0], [-1e30, -1e30, 0], [0, 0, 0]], np.float32)
    assert Classification(3).decode({"logits": logits}, ANIMALS, {}) == [
        ("cat", 1.0),
        ("猫", 1.0),
        ("cat", pytest.approx(1 / 3)),
    ]


def test_a_category_that_is_absent_or_unknown_is_no_target():
    target = {"id": np.array([0, UNKNOWN, 2, 3, 4, 6], np.int64)}
    assert numbers(Classification(3).target_mask(target)).tolist() == [0, 0, 0, 0, 1, 1]


def test_the_loss_of_a_category_is_the_cross_entropy():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], np.float32)
    predictions = {"logits": np.log(probabilities)}
    assert numbers(Classification(3).loss(predictions, ids(0, 1))) == pytest.approx(-np.log([0.7, 0.3]), rel=1e-5)
    smoothed = numbers(Classification(3, label_smoothing=0.3).loss(predictions, ids(0, 1)))
    assert smoothed[0] == pytest.approx(-(np.log([0.7, 0.2, 0.1]) @ [0.8, 0.1, 0.1]), rel=1e-5)


def test_the_loss_of_an_unknown_category_is_finite():
    loss = numbers(Classification(3).loss({"logits": np.zeros((2, 3), np.float32)}, ids(None, None)))
    assert np.isfinite(loss).all()


def test_the_metrics_of_a_category_leave_out_missing_targets_and_count_unseen_ones_as_misses():
    predictions = {"logits": np.eye(3, dtype=np.float32)[[0, 1, 1, 0, 2, 2, 0]]}
    given, labels = ["cat", "cat", "dog", "dog", None, "猫", "zebra"], ["cat", "dog", "dog", "cat", "猫", "猫", "cat"]
    found = metrics_of(Classification(3), predictions, given)
    assert found["accuracy"] == pytest.approx(3 / 6)
    there = [place for place, value in enumerate(given) if value]
    wanted, labelled = ([values[place] for place in there] for values in (given, labels))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(wanted, labelled, average="macro", zero_division=0))
    misses = {"accuracy": 0, "macro_f1": 0, "balanced_accuracy": 0}
    assert metrics_of(Classification(3), predictions, ["zebra"] * 7) == misses


def test_without_a_known_category_there_are_no_metrics():
    predictions = {"logits": np.zeros((2, 3), np.float32)}
    assert metrics_of(Classification(3), predictions, [None, None]) == {}


# Tagging


def test_the_tags_that_reach_their_thresholds_are_given_the_likeliest_first():
    predictions = logits_of([[0.5, 0.9, 0.2], [0.1, 0.1, 0.1], [0.6, 0.8, 0.95]])
    found = Tagging(3).decode(predictions, ANIMALS, {"thresholds": [0.4, 0.85, 0.5]})
    assert [labels for labels, _ in found] == [["dog", "cat"], [], ["猫", "cat"]]
    assert [scores for _, scores in found] == [
        pytest.approx([0.9, 0.5]),
        [],
        pytest.approx([0.95, 0.6], abs=1e-6),
    ]


def test_very_large_logits_are_certain():
    found = Tagging(3).decode({"logits": np.array([[1e30, -1e30, 0]], np.float32)}, ANIMALS, {"thresholds": [0.5] * 3})
    assert found == [(["cat", "猫"], [1.0, 0.5])]


def test_no_tags_are_a_target_and_missing_ones_are_not():
    assert numbers(Tagging(2).target_mask(hot([1, 0], [0, 0], None))).tolist() == [1, 1, 0]


def test_the_loss_of_tags_is_the_binary_cross_entropy_summed_over_them():
    loss = numbers(Tagging(2).loss(logits_of([[0.7, 0.2], [0.5, 0.9]]), hot([1, 0], [0, 0])))
    assert loss == pytest.approx([-np.log(0.7) - np.log(0.8), -np.log(0.5) - np.log(0.1)], rel=1e-5)


def f1_of(wanted: np.ndarray, found: np.ndarray, threshold: float) -> float:
    given = found >= threshold
    return 2 * (wanted & given).sum() / (wanted.sum() + given.sum())


def test_a_calibrated_threshold_has_the_best_f1_there_is():
    random = np.random.default_rng(3)
    wanted = random.uniform(size=(300, 4)) < [0.5, 0.2, 0.1, 0.05]
    found = np.clip(0.3 * wanted + random.uniform(0.01, 0.6, (300, 4)) * [1, 0.5, 0.9, 1], 0.01, 0.99)
    thresholds = Tagging(4).calibrate(logits_of(found), hot(*wanted.astype(int).tolist()))["thresholds"]
    for tag in range(4):
        best = max(f1_of(wanted[:, tag], found[:, tag], threshold) for threshold in np.linspace(0, 1, 2001))
        assert f1_of(wanted[:, tag], found[:, tag], thresholds[tag]) == pytest.approx(best)
    assert len(set(thresholds)) == 4


def test_a_threshold_lies_between_what_is_given_and_what_is_not():
    wanted = hot(*[[1]] * FEWEST_POSITIVES, *[[0]] * 5)
    found = [[0.9]] * FEWEST_POSITIVES + [[0.3]] * 5
    assert Tagging(1).calibrate(logits_of(found), wanted) == {"thresholds": [pytest.approx(0.6)]}


def test_a_rare_tag_takes_the_threshold_that_all_tags_share():
    rows = [[1, 0]] * 20 + [[0, 0]] * 20 + [[0, 1]] * (FEWEST_POSITIVES - 1)
    found = [[0.8, 0.2]] * 20 + [[0.2, 0.2]] * 20 + [[0.2, 0.9]] * (FEWEST_POSITIVES - 1)
    own, shared = Tagging(2).calibrate(logits_of(found), hot(*rows))["thresholds"]
    assert own == pytest.approx(0.5)
    assert shared == pytest.approx(0.5)  # the rare tag's own would be 0.55
    rows.append([0, 1])
    found.append([0.2, 0.9])
    assert Tagging(2).calibrate(logits_of(found), hot(*rows))["thresholds"][1] == pytest.approx(0.55)


def test_records_without_known_tags_do_not_calibrate():
    found = logits_of([[0.9]] * 5 + [[0.3]] * 5 + [[0.95]] * 5)
    calibrated = Tagging(1).calibrate(found, hot(*[[1]] * 5, *[[0]] * 5, *[None] * 5))
    assert calibrated == {"thresholds": [pytest.approx(0.6)]}


@pytest.mark.parametrize("target", [hot([0, 0], [0, 0]), {"hot": np.zeros((2, 2), np.uint8), "present": np.zeros(2)}])
def test_without_a_single_tag_the_threshold_is_one_half(target):
    assert Tagging(2).calibrate(logits_of([[0.1, 0.2]] * 2), target) == {"thresholds": [0.5, 0.5]}


def test_calibration_is_json():
    calibrated = Tagging(2).calibrate(logits_of([[0.1, 0.2]] * 6), hot(*[[1, 0]] * 6))
    assert json.loads(json.dumps(calibrated)) == calibrated


def test_the_metrics_of_tags_leave_out_records_without_given_ones():
    wanted = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]])
    given = [["cat"], ["cat", "dog"], ["dog"], [], ["dog"], None]
    found = np.array([[0.9, 0.2, 0.1], [0.4, 0.8, 0.1], [0.1, 0.3, 0.7], [0.6, 0.1, 0.1], [0.1, 0.9, 0.2]])
    found[4, 2] = 0.6
    predictions, calibration = logits_of([*found, [0.9, 0.9, 0.9]]), {"thresholds": [0.5] * 3}
    result = metrics_of(Tagging(3), predictions, given, calibration=calibration)
    # cat: one right, one missed, one too many; dog: all right; 猫 does not occur, and is given once.
    hit = {"zero_division": 0}
    assert result["micro_f1"] == pytest.approx(metrics.f1_score(wanted, found >= 0.5, average="micro", **hit))
    assert result["macro_f1"] == pytest.approx(metrics.f1_score(wanted, found >= 0.5, average="macro", **hit))
    assert result["map"] == pytest.approx(
        np.mean([metrics.average_precision_score(wanted[:, tag], found[:, tag]) for tag in (0, 1)])
    )


def test_a_tag_that_training_never_saw_is_a_miss():
    predictions, calibration = logits_of([[0.9, 0.1, 0.1]] * 2), {"thresholds": [0.5] * 3}
    found = metrics_of(Tagging(3), predictions, [["cat"], ["cat", "zebra"]], calibration=calibration)
    assert found == {"map": 1.0, "micro_f1": pytest.approx(4 / 5), "macro_f1": 0.5}
    unseen = metrics_of(Tagging(3), predictions, [["zebra"], ["zebra"]], calibration=calibration)
    assert unseen == {"micro_f1": 0.0, "macro_f1": 0.0}, "of no tag of the vocabulary a precision can be told"


def test_the_metrics_hold_where_a_single_tag_occurs():
    given, two = [["cat"], ["cat"], [], []], Fitted(("cat", "dog"))
    good = logits_of([[0.9, 0.1], [0.8, 0.1], [0.1, 0.1], [0.2, 0.1]])
    bad = logits_of([[0.1, 0.1], [0.2, 0.1], [0.4, 0.1], [0.3, 0.1]])
    head, calibration = Tagging(2), {"thresholds": [0.5, 0.5]}
    found = metrics_of(head, good, given, two, calibration)
    assert found == {"map": 1.0, "micro_f1": 1.0, "macro_f1": 1.0}
    assert metrics_of(head, bad, given, two, calibration) == {
        "map": pytest.approx((1 / 3 + 2 / 4) / 2),
        "micro_f1": 0.0,
        "macro_f1": 0.0,
    }


def test_a_probability_that_just_reaches_its_threshold_counts_in_labels_and_metrics_alike():
    head, predictions, calibration = Tagging(1), {"logits": np.zeros((1, 1), np.float32)}, {"thresholds": [0.5]}
    assert head.decode(predictions, Fitted(("cat",)), calibration) == [(["cat"], [0.5])]
    assert metrics_of(head, predictions, [["cat"]], Fitted(("cat",)), calibration)["micro_f1"] == 1


def test_the_metrics_hold_for_a_single_record_that_has_every_tag():
    two, calibration = Fitted(("cat", "dog")), {"thresholds": [0.5, 0.5]}
    found = metrics_of(Tagging(2), logits_of([[0.9, 0.1]]), [["cat", "dog"]], two, calibration)
    assert found == {"map": 1.0, "micro_f1": pytest.approx(2 / 3), "macro_f1": 0.5, "rare_recall": 0.0}


def test_without_a_single_tag_there_are_no_metrics():
    head, predictions, two = Tagging(2), logits_of([[0.4, 0.1]] * 2), Fitted(("cat", "dog"))
    assert metrics_of(head, predictions, [[], None], two, {"thresholds": [0.5, 0.5]}) == {}
    given_once = metrics_of(head, predictions, [[], None], two, {"thresholds": [0.3, 0.5]})
    assert given_once == {"micro_f1": 0.0, "macro_f1": 0.0}


# Both


@pytest.mark.parametrize("head", [Classification, Tagging])
def test_a_target_without_any_value_cannot_be_predicted(head):
    with pytest.raises(ValueError, match="the target field has no value in the training split"):
        head(0)


@pytest.mark.parametrize("head", [Classification, Tagging])
def test_dropout_is_only_for_training(head):
    layer = head(3, dropout=0.5)
    reading = {"vector": np.ones((2, 8), np.float32)}
    layer.build({"vector": (None, 8)})
    first, again = (numbers(layer(reading, training=False)["logits"]) for _ in range(2))
    assert (first == again).all()
    assert (first[0] == first[1]).all()
    assert (numbers(layer(reading, training=True)["logits"]) != first).any()


def test_an_untrained_head_of_many_tags_gives_hardly_any():
    layer = Tagging(1000)
    layer.build({"vector": (None, 8)})
    found = layer.decode(
        {"logits": numbers(layer({"vector": np.zeros((1, 8), np.float32)})["logits"])},
        Fitted(tuple(map(str, range(1000)))),
        {"thresholds": [0.5] * 1000},
    )
    assert found == [([], [])]
