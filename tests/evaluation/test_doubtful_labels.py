"""Labels to check: planted mistakes are found, in the report and in a file, and nothing else is said of other heads."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image
from small_road import run, write_manifest

from mmstream.evaluation.label_quality import CheckedValues, quality_of
from mmstream.evaluation.leave_one_out import leave_one_out
from mmstream.evaluation.picture_gradients import gradients

ATTACK = '<script>document.title = "attacked"</script>'
KEYS = {"head", "id", "split", "given", "suggested", "score"}


def of_products(features):
    return lambda rows, others: features[rows] @ features[others].T


@pytest.mark.parametrize("count", [40, 1_300])
def test_a_record_is_predicted_without_it(count):
    random = np.random.default_rng(1)
    features = random.normal(size=(count + 3, 6)) / 3
    targets = (features[:count, :2] + random.normal(size=(count, 2)) / 5 > 0).astype(float)
    expected = leave_one_out(of_products(features), targets, 3)
    assert (expected.within.shape, expected.beyond.shape) == ((count, 2), (3, 2))
    assert ((expected.within > 0.5) == targets).mean() > 0.75
    turned = targets.copy()
    turned[7] = 1 - turned[7]
    again = leave_one_out(of_products(features), turned, 3).within
    assert np.allclose(again[7], expected.within[7], atol=2 / count), "its own label says nothing of it, but the mean"


def test_it_is_the_same_as_fitting_again():
    random = np.random.default_rng(2)
    features, targets = random.normal(size=(30, 4)), random.normal(size=(30, 1))
    expected = leave_one_out(of_products(features), targets, 0).within
    centred, kept = targets - targets.mean(), np.arange(30) != 5
    near = []
    for penalty in (0.1, 0.3, 1.0, 3.0, 10.0, 100.0):
        solved = np.linalg.solve(features[kept] @ features[kept].T + penalty * np.eye(29), centred[kept])
        near.append(abs(float((features[5] @ features[kept].T @ solved)[0] + targets.mean() - expected[5, 0])))
    assert min(near) < 1e-5


@pytest.mark.parametrize("exclusive", [True, False])
def test_planted_labels_come_first(exclusive):
    random = np.random.default_rng(3)
    classes = random.integers(4, size=400)
    features = np.eye(4)[classes] + random.normal(size=(400, 4)) / 4
    hot = np.eye(4, dtype=bool)[classes]
    wrong = random.permutation(400)[:20]
    hot[wrong] = np.roll(hot[wrong], 1, axis=1)
    expected = leave_one_out(of_products(features), hot.astype(float), 0).within
    quality = quality_of(expected, hot, exclusive)
    first = np.argsort(quality.scores, kind="stable")[:20]
    assert np.isin(first, wrong).mean() >= 0.9
    assert (quality.likelier[wrong] == classes[wrong]).mean() >= 0.9
    assert (quality.doubted[wrong] == hot[wrong].argmax(1)).all()
    assert (quality.scores[wrong] < 0.5).mean() >= 0.9
    assert (np.delete(quality.scores, wrong) < 0.5).mean() < 0.05


def test_a_record_may_have_no_tag_or_all():
    expected = np.array([[0.9, 0.1], [0.2, 0.1], [0.9, 0.1]])
    quality = quality_of(expected, np.array([[False, False], [False, False], [True, True]]), exclusive=False)
    assert quality.doubted.tolist() == [-1, -1, 1]
    assert quality.likelier.tolist() == [0, 0, -1]
    assert (quality.scores < 0.5).tolist() == [True, False, True]


def test_rare_values_are_not_checked():
    given = ["a"] * 6 + ["b"] * 5 + ["c"] * 4 + [None]
    values = CheckedValues.of(["c", "a", "b"], given, exclusive=True)
    assert values.names == ["a", "b"]
    rows, hot = values.hot(given)
    assert rows.tolist() == list(range(11))
    assert hot.sum(0).tolist() == [6, 5]
    tags = CheckedValues.of(["a", "b"], [["a", "b"]] * 5 + [["a", "c"]], exclusive=False)
    rows, hot = tags.hot([["c"], None, [], ["a"]])
    assert rows.tolist() == [0, 2, 3]
    assert hot.tolist() == [[False, False], [False, False], [True, False]]


def test_shapes_of_any_picture_are_described():
    pictures = np.random.default_rng(4).integers(0, 255, (3, 40, 56, 3)).astype(np.uint8)
    found = gradients(pictures)
    assert found.shape == (3, 8 * 8 * 8)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert not np.any(gradients(np.full((1, 9, 9, 3), 200, np.uint8)))
    assert gradients(pictures[:, :1]).shape == (3, 1)
    turned = gradients(np.rot90(pictures, axes=(1, 2)).copy())
    assert np.abs(turned - found).max() > 0.05


def lines_of(model, split="test"):
    path = model / "evaluation" / split / "doubtful_labels.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else None


@pytest.mark.slow
def test_the_report_and_a_file_hold_what_is_doubted(road):
    assert run("evaluate", road.model, "--examples", road.examples, "--baselines", "none") == 0
    lines, page = lines_of(road.model), (road.model / "evaluation" / "test" / "report.html").read_text()
    assert lines
    assert all(set(line) == KEYS for line in lines)
    assert {line["head"] for line in lines} <= {"group", "keywords"}, "a head that writes texts has no section"
    groups = {}
    for line in lines:
        groups.setdefault((line["head"], line["split"]), []).append(line["score"])
        assert line["given"] != line["suggested"]
        assert isinstance(line["given"], str if line["head"] == "group" else list)
    assert ("group", "train") in groups
    assert all(scores == sorted(scores) and scores[-1] < 0.5 for scores in groups.values())
    shown = page.count('class="card doubt"')
    assert shown == sum(min(len(scores), 40) for scores in groups.values())
    before = (road.model / "evaluation" / "test" / "doubtful_labels.jsonl").read_bytes()
    assert run("evaluate", road.model, "--examples", road.examples, "--baselines", "none") == 0
    assert (road.model / "evaluation" / "test" / "doubtful_labels.jsonl").read_bytes() == before
    command = ("evaluate", road.model, "--examples", road.examples, "--baselines", "none", "--check-labels", "0")
    assert run(*command) == 0
    assert lines_of(road.model) is None, "nothing is left of an earlier evaluation"
    page = (road.model / "evaluation" / "test" / "report.html").read_text()
    assert "Labels to check" not in page


CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
split: {{column: split}}
fields:
  text:   {{use: text, length: 8}}
  image:  {{use: image, size: [16, 16]}}
  topic:  {{use: category}}
  tags:   {{use: tags}}
  weight: {{use: number}}
model:
  width: 8
  encoders: {{text: {{use: bag_of_words}}, image: {{use: cnn, filters: [4]}}}}
  fusion: {{use: concat}}
  heads:
    topic:  {{use: classification}}
    tags:   {{use: tagging}}
    weight: {{use: regression, reads: text}}
training: {{epochs: 2, batch_size: 32}}
"""
TOPICS = ("sport", ATTACK, "food")
WORDS = (("ball", "team", "goal"), ("song", "band", "drum"), ("soup", "bread", "oven"))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """(folder, {head: ids with a wrong label}) of a model that was trained and evaluated."""
    folder, random = tmp_path_factory.mktemp("doubtful"), np.random.default_rng(5)
    rows = []
    for n in range(400):
        topic = int(random.integers(3))
        Image.new("RGB", (16, 16), [(200, 30, 30), (30, 200, 30), (30, 30, 200)][topic]).save(folder / f"{n}.png")
        words = random.choice(WORDS[topic], 3)
        text = f"the {words[0]} and a {words[1]} or {words[2]} {ATTACK if n % 5 == 0 else ''}"
        split = ("train", "train", "train", "validation", "test")[n % 5]
        row = {"id": f"r{n}{ATTACK}", "split": split, "text": text, "image": f"{n}.png", "weight": float(n)}
        rows.append({**row, "topic": TOPICS[topic], "tags": sorted(set(words))})
    everything = [word for words in WORDS for word in words]
    wrong = {}
    for head in ("topic", "tags"):
        chosen = [rows[n] for n in random.permutation(len(rows))[:20]]
        wrong[head] = {row["id"] for row in chosen}
        for row in chosen:
            if head == "topic":
                row["topic"] = random.choice([topic for topic in TOPICS if topic != row["topic"]])
            else:
                others = [word for word in everything if not any({word, *row["tags"]} < set(words) for words in WORDS)]
                row["tags"][0] = random.choice([word for word in others if word not in row["tags"]])
    rows[0]["topic"] = "opera"  # too rare to be checked
    (folder / "config.yaml").write_text(CONFIG.format(manifest=write_manifest(folder / "rows.jsonl", rows)))
    assert run("preprocess", folder / "config.yaml", "--output", folder / "examples") == 0
    assert run("train", folder / "config.yaml", "--examples", folder / "examples", "--output", folder / "model") == 0
    assert run("evaluate", folder / "model", "--examples", folder / "examples") == 0
    return folder, wrong


@pytest.mark.slow
def test_planted_mistakes_are_found(planted):
    folder, wrong = planted
    lines = lines_of(folder / "model")
    assert {line["head"] for line in lines} == {"topic", "tags"}
    assert {line["split"] for line in lines} == {"train", "test"}
    for head, ids in wrong.items():
        for split in ("train", "test"):
            found = [line["id"] in ids for line in lines if (line["head"], line["split"]) == (head, split)]
            count = sum(key in ids for key in ids_of(folder, split))
            assert count >= 2
            assert sum(found[:count]) / count >= 0.8, (head, split)
    assert not any(line["id"].startswith("r0<") for line in lines if line["head"] == "topic")


def ids_of(folder, split):
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return [row["id"] for row in rows if row["split"] == split]


@pytest.mark.slow
def test_the_page_shows_pictures_and_escapes_texts(planted):
    folder, _ = planted
    page = (folder / "model" / "evaluation" / "test" / "report.html").read_text()
    section = page[page.index('id="doubtful-labels"') : page.index('id="training"')]
    assert "<script" not in page
    assert "&lt;script&gt;" in section
    assert len(re.findall(r"<summary>", section)) == 4
    assert section.count("data:image/png") == section.count('class="card doubt"') > 10
    assert "weight" not in re.findall(r"<summary><b>(.*?)</b>", section)


@pytest.mark.slow
def test_few_records_are_checked_if_few_are_wanted(planted, capsys):
    folder, _ = planted
    command = ("evaluate", folder / "model", "--examples", folder / "examples", "--split", "train")
    assert run(*command, "--check-labels", "60", "--json") == 0
    lines = lines_of(folder / "model", "train")
    assert {line["split"] for line in lines} == {"train"}
    assert 0 < len(lines) < 60
