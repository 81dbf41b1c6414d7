"""Baselines: simple models are measured on the same records, with the same metrics, as a network would be."""

from __future__ import annotations

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from small_road import run, write_manifest

from mmstream.evaluation import baselines
from mmstream.evaluation.simple_features import Column, Features

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
split: {{column: split}}
fields:
  text:    {{use: text, length: 8}}
  image:   {{use: image, size: [16, 16]}}
  style:   {{use: category}}
  price:   {{use: number}}
  topic:   {{use: category}}
  tags:    {{use: tags}}
  weight:  {{use: number}}
  caption: {{use: text, length: 8}}
model:
  width: 8
  encoders:
    text: {{use: bag_of_words}}
    image: {{use: cnn, filters: [4]}}
    style: {{use: embedding}}
    price: {{use: mlp}}
  fusion: {{use: concat}}
  heads:
    topic: {{use: classification}}
    tags: {{use: tagging, reads: text}}
    weight: {{use: regression, reads: [price, style]}}
    caption: {{use: caption, reads: image}}
"""
TOPICS = ("sport", "music", "food")
WORDS = (("ball", "team", "goal"), ("song", "band", "drum"), ("soup", "bread", "oven"))
COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def rows_in(folder) -> list[dict]:
    """Rows whose topic and tags follow from the text, weight from price and style, caption from the colour."""
    random = np.random.default_rng(3)
    rows = []
    for n in range(360):
        topic, colour = int(random.choice(3, p=[0.5, 0.3, 0.2])), int(random.integers(3))
        picture = folder / f"{n}.png"
        Image.new("RGB", (16, 16), COLOURS[colour]).save(picture)
        words = random.choice(WORDS[topic], 3)
        price, style = float(random.integers(1, 100)), str(random.choice(["old", "new"]))
        rows.append(
            {
                "id": f"r{n}",
                "split": ("train", "train", "train", "validation", "test", "test")[n % 6],
                "text": f"the {words[0]} and a {words[1]} or {words[2]}",
                "image": picture.name,
                "style": style,
                "price": price,
                "topic": TOPICS[topic],
                "tags": sorted(set(words)),
                "weight": 3 * price + (50 if style == "old" else 0),
                "caption": f"a {('red', 'green', 'blue')[colour]} square",
            }
        )
    rows[4] |= {"topic": "opera", "tags": ["opera"]}  # test records: a class that training has never seen,
    rows[5] |= {"topic": None, "weight": None}  # no target,
    rows[10] |= {"text": None, "price": None}  # nothing to read for some heads,
    rows[11] |= {"text": "?!", "style": "unseen"}  # and values that training has never seen
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a config, and the examples of its rows."""
    folder = tmp_path_factory.mktemp("baselines")
    rows = rows_in(folder)
    (folder / "config.yaml").write_text(CONFIG.format(manifest=write_manifest(folder / "rows.jsonl", rows)))
    assert run("preprocess", folder / "config.yaml", "--output", folder / "examples") == 0
    return folder


def measured(folder, capsys, *more) -> dict:
    capsys.readouterr()
    assert run("baseline", folder / "config.yaml", "--examples", folder / "examples", "--json", *more) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def result(folder):
    """The figures of the test split."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert run("baseline", folder / "config.yaml", "--examples", folder / "examples", "--json") == 0
    return json.loads(out.getvalue())


def figures(heads, head, metric):
    return {name: each[metric] for name, each in heads[head]["baselines"].items()}


def test_simple_models_find_what_is_there(result):
    assert (result["split"], result["records"]) == ("test", 120)
    heads = result["heads"]
    topic = figures(heads, "topic", "accuracy")
    assert set(topic) == {
        *("most frequent", "TF-IDF of text", "colours of image", "linear model of price, style", "late fusion"),
    }
    assert topic["TF-IDF of text"] > 0.95 > 0.6 > topic["colours of image"]
    assert topic["late fusion"] > 0.95
    tags = figures(heads, "tags", "map")
    assert tags["TF-IDF of text"] > 0.8 > 0.4 > tags["most frequent"]
    assert figures(heads, "tags", "micro_f1")["TF-IDF of text"] > 0.9, "the threshold fits"
    weight = figures(heads, "weight", "r2")
    assert weight["linear model of price, style"] > 0.98 > 0.05 > weight["mean"]
    caption = figures(heads, "caption", "exact")
    assert caption["nearest by colours of image"] == 1 > 0.5 > caption["most frequent"]
    low, high = heads["topic"]["baselines"]["most frequent"]["intervals"]["accuracy"]
    assert low <= topic["most frequent"] <= high


def test_every_record_counts_that_a_network_would_be_measured_on(folder, result):
    heads = result["heads"]
    rows = [row for row in rows_in(folder) if row["split"] == "test"]
    topics = [row["topic"] for row in rows if row["topic"]]
    assert heads["topic"]["records"] == len(topics) == 119
    assert figures(heads, "topic", "accuracy")["most frequent"] == pytest.approx(topics.count("sport") / 119)
    assert heads["tags"]["records"] == 119, "one record has no text"
    prices = [row["weight"] for row in rows_in(folder) if row["split"] == "train"]
    weights = [row["weight"] for row in rows if row["weight"] is not None]
    assert heads["weight"]["records"] == len(weights) == 119
    by_hand = np.mean([abs(weight - np.mean(prices)) for weight in weights])
    assert figures(heads, "weight", "mae")["mean"] == pytest.approx(by_hand, rel=1e-6), "in the unit of the records"


@pytest.mark.slow
def test_all_adds_models_for_texts(folder, capsys):
    topic = figures(measured(folder, capsys, "--baselines", "all")["heads"], "topic", "accuracy")
    slow = {f"TF-IDF of text, {name}" for name in ("logistic regression", "linear SVM", "naive Bayes")}
    assert slow < set(topic)
    assert min(topic[name] for name in slow) > 0.9


def test_a_split_in_which_no_record_has_the_text_has_no_features():
    present, codes = np.array([True, True]), np.zeros((2, 0), np.int64)
    features = Features(Column("text", np.array(["a cat", "a dog"], object), codes, present))
    absent = Column("table", np.zeros((2, 3), np.float32), codes, ~present)  # as read: no text says what it is
    assert features(absent).shape[0] == 2
    assert features(absent).nnz == 0


def test_a_head_with_nothing_to_measure_is_in_the_table():
    nothing = {"records": 0, "metric": "accuracy", "baselines": {}}
    assert [row[:3] for row in baselines.table({"heads": {"topic": nothing}})] == [("topic", 0, "nothing to measure")]


@pytest.mark.slow
def test_equal_arguments_give_equal_figures(folder, capsys):
    assert measured(folder, capsys, "--split", "validation") == measured(folder, capsys, "--split", "validation")


def test_the_table_shows_each_baseline_once_for_each_head(result):
    rows = list(baselines.table(result))
    assert [row[2] for row in rows].count("TF-IDF of text") == 2
    caption = rows[0]
    assert caption[:4] == ("caption", result["heads"]["caption"]["records"], "most frequent", "chrf")


def test_examples_of_other_fields_are_refused(folder, tmp_path, capsys):
    text = (folder / "config.yaml").read_text().replace("length: 8", "length: 9")
    (tmp_path / "config.yaml").write_text(text)
    assert run("baseline", tmp_path / "config.yaml", "--examples", folder / "examples") == 1
    assert "were made with different settings for the fields caption, text" in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_validation_split_a_penalty_is_taken_that_does_not_overfit(folder, tmp_path, capsys):
    rows = [row for row in rows_in(folder) if row["split"] != "validation"]
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(manifest=write_manifest(folder / "without.jsonl", rows)))
    assert run("preprocess", config, "--output", tmp_path / "examples") == 0
    heads = measured(tmp_path, capsys)["heads"]
    assert figures(heads, "topic", "accuracy")["late fusion"] > 0.95
    assert figures(heads, "weight", "r2")["linear model of price, style"] > 0.95


def test_without_a_head_there_is_nothing_to_predict(folder, tmp_path, capsys):
    begin, _ = (folder / "config.yaml").read_text().split("  heads:")
    (tmp_path / "config.yaml").write_text(
        f"{begin}  objectives: {{near: {{use: contrastive, fields: [text, image]}}}}\n"
    )
    assert run("baseline", tmp_path / "config.yaml", "--examples", folder / "examples") == 1
    assert "the config has no head" in capsys.readouterr().err


def test_an_empty_split_is_told(folder, tmp_path, capsys):
    shutil.copytree(folder / "examples", tmp_path / "examples")
    shutil.rmtree(tmp_path / "examples" / "examples" / "test")
    assert run("baseline", folder / "config.yaml", "--examples", tmp_path / "examples") == 1
    assert "the split 'test' of" in capsys.readouterr().err
