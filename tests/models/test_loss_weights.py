"""Each loss weighs in the total what the config says, in each epoch, and heads are balanced where it says so."""

from __future__ import annotations

import csv
import math

import keras
import numpy as np
import pytest
from small_road import run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmstream.config.schema import Config
from mmstream.models.loss_weights import LossWeights
from mmstream.training.checkpoint import Checkpoint

LOSSES = {"group": 2.0, "tags": 3.0, "align": 5.0}
COUNTS = {"group": 4.0, "tags": 4.0}


def config_of(align=(), training=()):
    use = {"use": "x"}
    return Config.model_validate(
        {
            "source": {"use": "x", "path": "x"},
            "fields": {"group": use, "tags": use},
            "model": {
                "encoders": {},
                "heads": {"group": {**use, "weight": 0.5}, "tags": use},
                "objectives": {"align": {**use, "weight": 2.0, **dict(align)}},
            },
            "training": dict(training),
        }
    )


def weights_of(weighting="fixed", align=()):
    layer = LossWeights(config_of(align, {"weighting": weighting}))
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
        assert layer.current() == {"align_weight": pytest.approx(found[-1] / 5)}
    assert found == pytest.approx([0, 0, 5, 10, 10])


def test_uncertainty_weighs_a_head_by_what_it_has_learnt_of_it():
    layer = weights_of("uncertainty")
    assert total(layer) == pytest.approx(14), "all are equally certain at first"
    layer.log_variances["tags"].assign(math.log(4.0))
    assert total(layer) == pytest.approx(0.5 * 2 + 3 / 4 + math.log(4) / 2 + 10)
    assert layer.current() == {"group_weight": 0.5, "tags_weight": pytest.approx(0.25)}
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


def small_model():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.build((None, 1))
    model.stop_training = False
    return model


@pytest.mark.parametrize(
    ("align", "best"),
    [({}, 1), ({"from_epoch": 2, "warm_up": 1}, 3), ({"from_epoch": 2, "weight": 0.0}, 1), ({"from_epoch": 9}, 1)],
)
def test_the_best_epoch_is_one_in_which_every_loss_counts(tmp_path, align, best):
    """Of four epochs, each worse than the one before; a loss that never counts is no reason to wait."""
    checkpoint = Checkpoint(tmp_path, config_of(align=align, training={"epochs": 4}))
    checkpoint.set_model(small_model())
    for epoch in range(4):
        checkpoint.model.layers[0].bias.assign([float(epoch + 1)])
        checkpoint.on_epoch_end(epoch, {"loss": 1.0, "val_loss": float(epoch)})
    assert checkpoint.best_epoch == best
    checkpoint.restore_best(checkpoint.model)
    assert checkpoint.model.layers[0].bias.numpy().tolist() == [best]


def test_stopping_early_waits_until_every_loss_counts(tmp_path):
    training = {"epochs": 20, "early_stopping": {"patience": 2}}
    checkpoint = Checkpoint(tmp_path, config_of(align={"from_epoch": 5}, training=training))
    checkpoint.set_model(small_model())
    while not checkpoint.stopped:
        checkpoint.on_epoch_end(checkpoint.epoch, {"loss": 1.0, "val_loss": float(checkpoint.epoch)})
    assert checkpoint.epoch == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.early_stopping.monitor=val_group_accuracy", "expected a loss (lower is better)"),
        ("model.objectives.group={use: contrastive, fields: [image, text]}", "a head is also called 'group'"),
        ("model.heads.val_group={use: classification, target: group, reads: image}", "begin with 'val_'"),
    ],
)
def test_what_would_mislead_is_refused(road, capsys, change, message):
    assert run("check", road.config, "--set", change) == 1
    assert message in capsys.readouterr().err


def test_what_has_no_effect_is_warned_of(road, capsys):
    late = ("--set", "model.objectives.align.from_epoch=9", "--set", "model.heads.group.warm_up=2")
    assert run("check", road.config, *late) == 0
    said = capsys.readouterr().err
    assert "the loss of align never counts: training ends after 2 epochs" in said
    assert "the loss of group never reaches its full weight: training ends after 2 epochs" in said
    one = "model.heads={group: {use: classification, reads: image}}"
    assert run("check", road.config, "--set", one, "--set", "training.weighting=dynamic") == 0
    assert "has no effect with fewer than two heads" in capsys.readouterr().err
