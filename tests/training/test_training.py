"""Training: goes on after an interruption, stops early, and takes records that lack a field or a target."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from small_road import CONFIG, emoji_rows, interrupt_after, run, write_manifest

from mmstream.config.loading import load_config
from mmstream.errors import MmstreamError
from mmstream.trained_model.artefact import load
from mmstream.training import train
from mmstream.training.checkpoint import Checkpoint

PLAIN = (
    "model.encoders={image: {use: cnn, filters: [8]}}",
    "model.heads={group: {use: classification, reads: image}}",
    "model.objectives={}",
)
"""Overrides that leave a network of one encoder and one head: most of a small training is spent on building it."""
SAMPLING = [(), ("training.sampling={balanced: group}",)]


def history(model):
    return list(csv.DictReader((model / "history.csv").open()))


def test_a_trained_model_holds_all_that_it_needs(road):
    names = {path.name for path in road.model.iterdir()}
    assert names >= {"network.keras", "config.yaml", "transform", "golden", "model.json", "history.csv", "logs"}
    assert [row["epoch"] for row in history(road.model)] == ["1", "2"]
    assert {"caption_loss", "val_caption_loss", "val_loss", "align_loss"} <= set(history(road.model)[0])


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLING)
def test_an_interrupted_training_goes_on_where_it_stopped(road, tmp_path, monkeypatch, sampling):
    config = load_config(str(road.config), ["training.epochs=3", *PLAIN, *sampling])
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            train.train(config, str(road.examples), str(tmp_path / "model"))
    assert not (tmp_path / "model" / "model.json").exists()

    begun = []
    start = Checkpoint.on_train_begin

    def watched(self, logs=None):
        start(self, logs)
        begun.append(int(self.model.optimizer.iterations))

    monkeypatch.setattr(Checkpoint, "on_train_begin", watched)
    trained = train.train(config, str(road.examples), str(tmp_path / "model"))
    steps = json.loads((road.examples / "preprocess.json").read_text())["splits"]["train"] // 32
    assert begun == [2 * steps]
    assert [row["epoch"] for row in history(tmp_path / "model")] == ["1", "2", "3"]
    assert trained.about["epochs"] == 3


def test_a_finished_training_is_not_done_again(road, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("it was trained again"))
    assert run("train", road.config, "--examples", road.examples, "--output", road.model) == 0


def test_no_thread_of_tf_data_holds_up_the_end_of_training(road, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(train.MultimodalModel, "fit", lambda self, data, **more: given.update(more, train=data))
    train.train(load_config(str(road.config)), str(road.examples), str(tmp_path / "model"))
    assert not any(given[name].options().autotune.enabled is not False for name in ("train", "validation_data"))


def test_training_stops_early_and_keeps_the_best_weights(road, tmp_path):
    config = load_config(
        str(road.config),
        [
            *PLAIN,
            "training.epochs=9",
            "training.early_stopping={patience: 2}",
            "training.optimizer={use: sgd, learning_rate: 1.0e-12}",
        ],
    )
    trained = train.train(config, str(road.examples), str(tmp_path / "model"))
    assert trained.about["epochs"] < 9
    assert trained.about["best_epoch"] == trained.about["epochs"] - 2


def test_an_unknown_monitor_is_named(road, tmp_path):
    config = load_config(str(road.config), [*PLAIN, "training.early_stopping={monitor: val_tags_loss}"])
    with pytest.raises(MmstreamError, match=r"there is no 'val_tags_loss'; available: .*val_loss"):
        train.train(config, str(road.examples), str(tmp_path / "model"))


def test_another_config_does_not_go_into_the_same_directory(road, capsys):
    more = ("--set", "training.epochs=5", "--examples", road.examples, "--output", road.model)
    assert run("train", road.config, *more) == 1
    assert "another config or other examples" in capsys.readouterr().err


def test_examples_of_other_fields_are_refused(road, tmp_path, capsys):
    more = ("--set", "fields.text.length=9", "--examples", road.examples, "--output", tmp_path / "model")
    assert run("train", road.config, *more) == 1
    assert "different settings for the fields text" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("override", "was"),
    [
        ("split={validation: 0.3, test: 0.1}", "split.validation is 0.1"),
        ("split.group=group", "split.group is none"),
        ("source.id=emoji", "source.id is 'id'"),
        ("source.use=csv", "source.use is 'jsonl'"),
    ],
)
def test_examples_of_another_split_or_source_are_refused(road, tmp_path, capsys, override, was):
    more = ("--set", override, "--examples", road.examples, "--output", tmp_path / "model")
    assert run("train", road.config, *more) == 1
    assert f"were made with another config: {was}; run `mmstream preprocess` again" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("is_old", [False, True])
def test_where_records_lay_and_how_many_is_taken_from_the_examples_and_said(
    road, tmp_path, monkeypatch, capsys, is_old
):
    monkeypatch.setattr(train, "_train", lambda config, *_: config)
    examples = shutil.copytree(road.examples, tmp_path / "examples")
    about = json.loads((examples / "preprocess.json").read_text())
    if is_old:  # job.json says it
        del about["made_with"]
        (examples / "preprocess.json").write_text(json.dumps(about))
    config = load_config(str(road.config), ["source.limit=9", "golden=1", "source.path=elsewhere", "source.roots=[a]"])
    trained_with = train.train(config, str(examples), str(tmp_path / "model"))
    asked = load_config(str(road.config))
    assert (trained_with.source, trained_with.golden) == (asked.source, asked.golden)
    said = capsys.readouterr().err
    assert "taken from the examples instead of the config: golden is 3, source.path is " in said
    assert "source.roots is [], source.limit is none" in said


def test_examples_of_a_pipeline_of_ones_own_leave_the_source_to_the_config(road, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "_train", lambda config, *_: config)
    examples = shutil.copytree(road.examples, tmp_path / "examples")
    about = json.loads((examples / "preprocess.json").read_text())
    del about["made_with"]["source"]
    (examples / "preprocess.json").write_text(json.dumps(about))
    config = load_config(str(road.config), ["source.id=emoji"])
    assert train.train(config, str(examples), str(tmp_path / "model")).source.id == "emoji"
    assert "taken from the examples" not in capsys.readouterr().err


@pytest.mark.slow
def test_examples_serve_any_augmentation(road, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "_train", lambda config, *_: config)
    more = ["fields.image.augment=[{rotate: 9}]"]
    assert train.train(load_config(str(road.config), more), str(road.examples), str(tmp_path / "model"))
    examples = tmp_path / "examples"
    shutil.copytree(road.examples, examples)
    assert run("preprocess", road.config, "--output", examples, "--set", *more) == 0
    assert json.loads((examples / "preprocess.json").read_text())["examples"] == 0


FUSED = """
  fusion: {use: concat}
  heads:
    group: {use: classification}
    keywords: {use: tagging, reads: [image, text]}
golden: 3
training: {epochs: 1, batch_size: 16, modality_dropout: 0.5}
"""


@pytest.fixture(scope="module")
def gaps(road, tmp_path_factory):
    """(folder with `examples`, manifest) of records that lack fields and targets."""
    folder = tmp_path_factory.mktemp("gaps")
    rows = emoji_rows(160)
    for number, row in enumerate(rows):
        for key in (("image",), ("text",), ("group",), ("keywords",), ("group", "keywords", "text"), (), ())[
            number % 7
        ]:
            del row[key]
    manifest = write_manifest(road.folder / "data" / "gaps.jsonl", rows)
    start, _, _ = CONFIG.partition("  heads:")
    (folder / "config.yaml").write_text(start.format(manifest=manifest) + FUSED)
    assert run("preprocess", folder / "config.yaml", "--output", folder / "examples") == 0
    return folder, manifest


@pytest.mark.parametrize(
    "fusion",
    ["attention", *(pytest.param(name, marks=pytest.mark.slow) for name in ("concat", "gated", "cross_attention"))],
)
def test_heads_read_a_fusion_and_records_may_lack_fields_and_targets(gaps, tmp_path, fusion):
    folder, manifest = gaps
    more = ("--set", f"model.fusion.use={fusion}", "--examples", folder / "examples", "--output", tmp_path / "model")
    assert run("train", folder / "config.yaml", *more) == 0
    assert np.isfinite([float(value) for row in history(tmp_path / "model") for value in row.values()]).all()
    assert run("label", tmp_path / "model", "--input", manifest, "--output", tmp_path / "out", "--embeddings") == 0
    about = json.loads((tmp_path / "out" / "label.json").read_text())
    assert (about["read"], about["labelled"]) == (160, 160)


MIRRORED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from mmstream.config.loading import load_config
from mmstream.training.train import train
config, examples, output, *more = sys.argv[1:]
train(load_config(config, more), examples, output, verbose=0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLING)
def test_two_devices_that_share_each_batch_learn_what_one_does(road, tmp_path, sampling):
    one = (
        *("training.optimizer={use: sgd, learning_rate: 0.01}", "training.schedule=constant"),
        *("model.encoders={image: {use: vit, units: 8, layers: 1, heads: 2, dropout: 0.0}}", "model.objectives={}"),
        "model.heads={group: {use: classification, reads: image, dropout: 0.0}}",
    )
    losses = {}
    for name in ("single", "mirrored"):
        command = [sys.executable, "-c", MIRRORED, road.config, road.examples, tmp_path / name]
        done = subprocess.run(
            [*map(str, command), *one, *sampling, f"training.strategy={name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        losses[name] = [float(row["group_loss"]) for row in history(tmp_path / name)]
    assert losses["mirrored"] == pytest.approx(losses["single"], rel=0.02)
    assert run("verify", tmp_path / "mirrored") == 0


@pytest.mark.slow
def test_a_batch_that_devices_cannot_share_evenly_is_refused(road, tmp_path):
    command = [sys.executable, "-c", MIRRORED, road.config, road.examples, tmp_path / "model"]
    more = ("training.strategy=mirrored", "training.batch_size=15")
    done = subprocess.run([*map(str, command), *more], capture_output=True, text=True, check=False)
    assert "2 devices cannot share 15 examples evenly" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["precision=mixed_bfloat16", "precision=mixed_float16", "jit_compile=true"])
def test_other_precisions_and_compilation_train_models_that_label(road, tmp_path, setting):
    more = ("--set", f"training.{setting}", "--tiny", "--examples", road.examples)
    assert run("train", road.config, *more, "--output", tmp_path / "model") == 0
    assert np.isfinite([float(value) for row in history(tmp_path / "model") for value in row.values()]).all()
    assert run("verify", tmp_path / "model") == 0


@pytest.mark.slow
def test_what_libraries_say_goes_to_a_file_of_the_model(road, tmp_path):
    command = ["train", road.config, "--tiny", "--examples", road.examples, "--output", tmp_path / "model"]
    script = "import sys; from mmstream.cli import command; sys.exit(command())"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, command)], capture_output=True, text=True, check=True
    )
    taken, *rest = done.stderr.splitlines()  # --tiny cannot read fewer records than preprocess did
    assert taken.startswith("taken from the examples instead of the config: golden is 3, source.limit is")
    assert [line.split()[0] for line in rest] == ["train", "epochs", "best", "seconds", "model"]
    log = (tmp_path / "model" / "logs" / "train.log").read_text()
    assert "absl::InitializeLog" in log
    assert "did not fully read the dataset being cached" not in log


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_an_adversary_joins_in_when_its_epoch_has_come(road, tmp_path, precision):
    adversary = "{use: adversarial_caption, head: caption, target: text, field: image, from_epoch: 2}"
    changes = (f"model.objectives.natural={adversary}", "training.epochs=3", f"training.precision={precision}")
    flags = [flag for change in changes for flag in ("--set", change)]
    assert run("train", road.config, *flags, "--examples", road.examples, "--output", tmp_path / "model") == 0
    rows = history(tmp_path / "model")
    assert [float(row["natural_weight"]) for row in rows] == [0, 1, 1]
    assert all(0 <= float(row[f"natural_{name}"]) <= 1 for row in rows for name in ("discriminator_accuracy", "unique"))
    assert np.isfinite([float(value) for row in rows for value in row.values()]).all()
    assert float(rows[2]["natural_loss"]) != float(rows[1]["natural_loss"])
    assert {float(row["val_natural_loss"]) for row in rows} == {0.0}
    names = [weight.path for weight in load(tmp_path / "model").network.weights]
    assert not any("discriminator" in name for name in names), "the model that labels does without"


@pytest.mark.parametrize("tiny", [True, False])
def test_only_who_asked_for_steps_is_told_that_they_have_no_effect(road, capsys, tiny):
    overrides = ["training.batch_size=16", *([] if tiny else ["training.steps_per_epoch=4"])]
    config = load_config(str(road.config), overrides, tiny=tiny)
    assert train.steps_of(config, 40) == 2
    assert ("steps_per_epoch has no effect" in capsys.readouterr().err) is not tiny
