"""Evaluation tells what each field contributes to a head, and how sure each figure is."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_road import run, write_manifest

from mmstream.evaluation.ablation import Ablation
from mmstream.evaluation.intervals import bootstrap
from mmstream.preprocessing.preprocessor import Preprocessor

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
fields:
  told:   {{use: category}}
  noise:  {{use: category}}
  answer: {{use: category}}
model:
  width: 16
  encoders: {{told: {{use: embedding}}, noise: {{use: embedding}}}}
  fusion: {{use: concat}}
  heads: {{answer: {{use: classification}}}}
training: {{epochs: 20, batch_size: 32, seed: 1, optimizer: {{use: adamw, learning_rate: 0.01}}}}
"""


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """Of a config, examples and a model whose answer follows from one of two fields in nine of ten records."""
    folder = tmp_path_factory.mktemp("told")
    random = np.random.default_rng(5)
    rows = []
    for n in range(600):
        told = str(random.integers(4))
        answer = told if random.random() < 0.9 else str(random.integers(4))
        rows.append({"id": f"r{n}", "told": told, "noise": f"n{random.integers(4)}", "answer": f"a{answer}"})
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(manifest=write_manifest(folder / "rows.jsonl", rows)))
    assert run("preprocess", config, "--output", folder / "examples") == 0
    assert run("train", config, "--examples", folder / "examples", "--output", folder / "model") == 0
    return folder


@pytest.fixture(scope="module")
def metrics(road):
    """Of the training split."""
    assert run("evaluate", road / "model", "--examples", road / "examples", "--split", "train") == 0
    return json.loads((road / "model" / "evaluation" / "train" / "metrics.json").read_text())


def test_examples_that_do_not_say_what_was_given_are_refused(road, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Preprocessor, "told", lambda self, decoded: {})  # as earlier versions did
    assert run("preprocess", road / "config.yaml", "--output", tmp_path / "examples") == 0
    assert run("evaluate", road / "model", "--examples", tmp_path / "examples") == 1
    assert re.search(r"do not record what \d+ records contain for 'answer'", capsys.readouterr().err)


def test_what_each_field_contributes(metrics):
    head = metrics["heads"]["answer"]
    assert head["metric"] == "accuracy"
    assert head["reads"] == ["noise", "told"]
    told, noise = head["fields"]["told"], head["fields"]["noise"]
    assert told["whole"] == noise["whole"] == head["accuracy"] > 0.85
    assert told["records"] == metrics["records"]
    assert told["alone"] > 0.85
    assert told["shuffled"] < 0.5
    assert told["absent"] < 0.5
    assert noise["alone"] < 0.5
    assert noise["shuffled"] > 0.85
    assert noise["absent"] > 0.85


def test_a_field_that_hardly_counts_is_named(metrics):
    (warning,) = metrics["heads"]["answer"]["warnings"]
    assert warning.startswith("noise hardly matters: 0.")


def test_intervals_hold_the_figure(metrics):
    head = metrics["heads"]["answer"]
    assert set(head["intervals"]) == {"accuracy", "macro_f1", "balanced_accuracy", "rare_recall"}
    low, high = head["intervals"]["accuracy"]
    assert low < head["accuracy"] < high
    share, count = head["accuracy"], metrics["records"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / count), rel=0.3)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_shuffled_field_comes_from_another_record_that_has_it(there):
    count, size = len(there), 48
    present = np.zeros(size, np.float32)
    present[:count] = there
    value = np.arange(size) * present
    other = {"present": present, "value": value}
    shown = Ablation("shuffled", "a")({"a": other, "b": other}, count)
    assert shown["b"] is other
    assert (shown["a"]["present"] == present).all()
    assert sorted(shown["a"]["value"]) == sorted(value)
    if sum(there) > 1:
        assert (shown["a"]["value"][present > 0] != value[present > 0]).all()


def test_an_interval_is_the_same_each_time_and_none_where_there_is_nothing():
    values = np.arange(100.0)

    def mean(rows):
        return {"mean": float(values[rows].mean())}

    assert bootstrap(mean, 100) == bootstrap(mean, 100)
    assert bootstrap(mean, 0) == {}
    assert bootstrap(lambda rows: {}, 100) == {}
