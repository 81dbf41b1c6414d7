"""Linear models of n-grams beside the network: what TF-IDF knows is not lost, whatever the network learns."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from small_road import run, write_manifest

import mmstream

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
split: {{column: split}}
fields:
  text:  {{use: text, length: 12, ngrams: 2000}}
  noise: {{use: number}}
  topic: {{use: category}}
  tags:  {{use: tags}}
  price: {{use: number}}
model:
  width: 8
  wide: true
  encoders: {{text: {{use: ngrams, units: 0}}, noise: {{use: mlp}}}}
  fusion: {{use: late}}
  auxiliary: 0.3
  heads:
    topic: {{use: classification}}
    tags: {{use: tagging, reads: text}}
    price: {{use: regression}}
training: {{epochs: 1, batch_size: 32}}
"""
WORDS = (("ball", "team", "goal"), ("song", "band", "drum"), ("猫が好き", "犬と猫", "鳥"))
TOPICS = ("sport", "music", "動物")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Texts in two scripts whose words say the topic; one epoch is too short to learn that."""
    folder, random = tmp_path_factory.mktemp("wide"), np.random.default_rng(2)
    rows = []
    for n in range(300):
        topic = int(random.integers(3))
        words = [str(word) for word in random.choice(WORDS[topic], 2)]
        text = None if n == 7 else f"the {words[0]} and no {words[1]} number {random.integers(10)}"
        split = ("train", "train", "train", "validation", "test")[n % 5]
        noise = float(random.normal())
        row = {"id": f"r{n}", "split": split, "text": text, "noise": noise, "topic": TOPICS[topic]}
        known = n % 11 > 0  # some records have no targets
        tags, price = sorted(set(words)), 100 + 20 * topic + 30 * noise + float(random.normal())
        rows.append({**row, "tags": tags if known else None, "price": price if known else None})
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(manifest=write_manifest(folder / "rows.jsonl", rows)))
    assert run("preprocess", config, "--output", folder / "examples") == 0
    assert run("train", config, "--examples", folder / "examples", "--output", folder / "model") == 0
    return folder


def test_heads_are_as_good_as_linear_models(trained):
    metrics = mmstream.evaluate(trained / "model", examples=trained / "examples")
    for head, name in {"topic": "TF-IDF of text", "tags": "TF-IDF of text", "price": "late fusion"}.items():
        best = metrics["heads"][head]["best_baseline"]
        assert best["name"] == name
        assert best["value"] > 0.9
        assert best["difference"] >= -0.01


def test_labels_are_those_of_the_golden_records(trained, tmp_path):
    assert run("verify", trained / "model", "--input", trained / "rows.jsonl") == 0
    about = mmstream.label_files(trained / "model", input=trained / "rows.jsonl", output=tmp_path / "labels")
    assert (about["labelled"], about["dead_lettered"]) == (300, 0)


def test_a_new_process_can_load_the_network(trained):
    code = f"import mmstream; print(mmstream.load({str(trained / 'model')!r}).network.name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "inference\n"


def test_a_key_without_effect_is_reported(trained, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    text = CONFIG.format(manifest=trained / "rows.jsonl").replace("classification}", "classification, reads: text}")
    text = text.replace("regression}", "regression, reads: text}").replace("ngrams, units: 0", "text_cnn")
    config.write_text(text)
    run("check", config)
    said = capsys.readouterr().err
    assert "model.auxiliary has no effect" in said
    assert "model.wide has no effect" not in said
    config.write_text(text.replace(", ngrams: 2000", ""))
    run("check", config)
    assert "model.wide has no effect" in capsys.readouterr().err


def test_the_encoder_needs_the_n_grams_of_its_field(trained, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(manifest=trained / "rows.jsonl").replace(", ngrams: 2000", ""))
    assert run("check", config) == 1
    assert "set its `ngrams`, for example `ngrams: 20000`" in capsys.readouterr().err


@pytest.mark.slow
def test_an_exported_model_labels_alike(trained, tmp_path):
    assert run("export", trained / "model", "--to", tmp_path / "served") == 0
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    texts, noise = (
        ["THE BALL and no team", "the song", "犬と猫、猫が好き", "never seen", ""],
        [0.5, -1.0, 0.0, 2.0, 1.0],
    )
    found = serve(text=tf.constant(texts), noise=tf.constant(noise))
    records = [{"text": text or None, "noise": number} for text, number in zip(texts, noise, strict=True)]
    rows = list(mmstream.load(trained / "model").label(records))
    for n, row in enumerate(rows):
        assert found["topic"][n].numpy().decode() == row["topic"]
        assert found["topic_score"][n].numpy() == pytest.approx(row["topic_score"], rel=1e-3)
        assert found["price"][n].numpy() == pytest.approx(row["price"], rel=1e-3)
    assert [row["topic"] for row in rows[:3]] == ["sport", "music", "動物"]
