"""Each loss weighs in the total what the config says, in each epoch, and heads are balanced where it says so."""

from __future__ import annotations

import csv
import json
import math

import keras
import numpy as np
import pytest
from small_road import run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmstream.config import Config
from mmstream.models.loss_weights import LossWeights

LOSSES = {"group": 2.0, "tags": 3.0, "align": 5.0}
COUNTS = {"group": 4.0, "tags": 4.0}


def weights_of(weighting="fixed", align=()):
    use = {"use": "x"}
    config = Config.model_validate(
        {
            "source": {"use": "x", "path": "x"},
            "fields": {"group": use, "tags": use},
            "model": {
                "encoders": {},
                "heads": {"group": {**use, "weight": 0.5}, "tags": use},
                "objectives": {"align": {**use, "weight": 2.0, **dict(align)}},
            },
            "training": {"weighting": weighting},
        }
    )
    layer = LossWeights(config)
    layer.build()
    return layer


def total(layer, *, training=True, **counts):
    losses, counts = (keras.tree.map_structure(keras.ops.convert_to_tensor, x) for x in (LOSSES, {**COUNTS, **counts}))
    return float(layer(losses, counts, training=training))


def test_the_total_is_the_sum_that_the_config_says():
    assert total(weights_of()) == pytest.approx(0.5 * 2 + 3 + 2 * 5)


def test_a_loss_counts_from_its_epoch_and_rises_over_its_warm_up():
    layer = weights_of(align={"from_epoch": 3, "warm_up": 1})
    found = []
    for epoch in (1, 2, 3, 4, 5):
        layer.begin_epoch(epoch, [])
        found.append(total(layer) - 4)
        assert total(layer, training=False) == pytest.approx(14), "epochs can be compared"
        assert layer.told() == {"align_weight": pytest.approx(found[-1] / 5)}
    assert found == pytest.approx([0, 0, 5, 10, 10])


def test_uncertainty_weighs_a_head_by_what_it_has_learnt_of_it():
    layer = weights_of("uncertainty")
    assert total(layer) == pytest.approx(14), "all are equally certain at first"
    layer.log_variances["tags"].assign(math.log(4.0))
    assert total(layer) == pytest.approx(0.5 * 2 + 3 / 4 + math.log(4) / 2 + 10)
    assert layer.told() == {"group_weight": 0.5, "tags_weight": pytest.approx(0.25)}
    assert total(layer, tags=0.0) == pytest.approx(0.5 * 2 + 3 / 4 + 10), "without examples it learns nothing of it"
    assert total(layer, training=False) == pytest.approx(14)
    assert len(layer.trainable_variables) == 2, "objectives are not balanced"


def test_dynamic_gives_more_to_a_head_that_improves_less():
    layer = weights_of("dynamic")
    history = [{"group_loss": 2.0, "tags_loss": 4.0}]
    layer.begin_epoch(2, history)
    assert total(layer) == pytest.approx(14), "two epochs are needed"
    layer.begin_epoch(3, [*history, {"group_loss": 2.0, "tags_loss": 2.0}])
    shares = 2 * np.exp([0.5, 0.25]) / np.exp([0.5, 0.25]).sum()
    assert total(layer) == pytest.approx(0.5 * 2 * shares[0] + 3 * shares[1] + 10)
    layer.begin_epoch(3, [{"group_loss": float("nan"), "tags_loss": 0.0}, {"group_loss": 1.0, "tags_loss": 0.0}])
    assert total(layer) == pytest.approx(14), "where nothing can be told, all are equal"


@pytest.fixture(scope="module", params=[pytest.param("uncertainty", marks=pytest.mark.slow), "dynamic"])
def trained(request, road, tmp_path_factory):
    model = tmp_path_factory.mktemp("weights") / "model"
    changes = ("training.epochs=3", f"training.weighting={request.param}", "model.objectives.align.from_epoch=2")
    changes += ("training.early_stopping.monitor=align_weight",)
    flags = [flag for change in changes for flag in ("--set", change)]
    assert run("train", road.config, *flags, "--examples", road.examples, "--output", model) == 0
    return model


def test_the_history_tells_each_weight_loss_and_figure(trained):
    rows = list(csv.DictReader((trained / "history.csv").open()))
    assert [float(row["align_weight"]) for row in rows] == [0.0, 1.0, 1.0]
    assert float(rows[-1]["group_weight"]) != 0.5
    figures = {"group_accuracy", "keywords_precision_at_1", "caption_token_accuracy"}
    assert figures | {f"val_{name}" for name in figures} <= set(rows[0])
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in figures)


def test_tensorboard_shows_them(trained):
    found = {}
    for folder in ("train", "validation"):
        events = EventAccumulator(str(trained / "logs" / folder)).Reload()
        found[folder] = set(events.Tags()["tensors"])
    assert {"epoch_group_loss", "epoch_group_accuracy", "epoch_group_weight", "epoch_align_loss"} <= found["train"]
    assert {"epoch_group_loss", "epoch_group_accuracy"} <= found["validation"]


def test_the_best_epoch_is_one_in_which_every_loss_counts(trained):
    """What is watched is least in the first epoch, when one of the losses does not count yet."""
    assert json.loads((trained / "model.json").read_text())["best_epoch"] == 2
