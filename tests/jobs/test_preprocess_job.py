"""Preprocessing jobs: every record is accounted for, splits are as said, a rerun does what is left."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict

import pytest
from small_road import CONFIG, EMOJI, emoji_rows, read_lines, run, snapshot, write_manifest

from mmstream.preprocessing import examples
from mmstream.records.record import SPLITS

SMALL = """
source: {{use: jsonl, path: {manifest}, id: id}}
{split}
fields:
  image: {{use: image, size: [8, 8]}}
  text:  {{use: text, length: 8}}
  group: {{use: category}}
model:
  encoders: {{image: {{use: cnn}}}}
  heads: {{group: {{use: classification, reads: image}}}}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    shutil.copytree(EMOJI / "train" / "twemoji", folder / "twemoji")
    return folder


def rows_of(count):
    return [row for row in emoji_rows(1300) if row["style"] == "twemoji"][:count]


def preprocess(data, rows, output, split="", *more):
    manifest = write_manifest(data / "manifest.jsonl", rows)
    config = data / "config.yaml"
    config.write_text(SMALL.format(manifest=manifest, split=split))
    return run("preprocess", config, "--output", output, *more)


def split_by_id(output):
    import tensorflow as tf

    found = {}
    for split in SPLITS:
        for one in examples.read_examples(examples.shards_of(str(output), split)).batch(1):
            texts = tf.nest.map_structure(lambda text: text.numpy()[0].decode(), examples.parse_texts(one, ["_id"]))
            found[texts["_id"]] = split
    return found


def about(output):
    return json.loads((output / "preprocess.json").read_text())


def test_bad_rows_become_dead_letters_and_the_rest_examples(data, tmp_path):
    rows = rows_of(60)
    bad = [
        {"id": "no such file", "image": "twemoji/none.png", "text": "x"},
        {"id": "wrong type", "image": rows[0]["image"], "text": 5},
        {"id": rows[0]["id"], "image": rows[1]["image"], "text": "twice"},
        {"image": rows[0]["image"], "text": "no id"},
        {"id": "outside", "image": "/etc/hostname", "text": "x"},
        {"id": "nothing"},
        b'{"id": "cut',
        b'\xff\xfe{"id": 1}',
    ]
    assert preprocess(data, [*rows, *bad], tmp_path / "out") == 0
    said = about(tmp_path / "out")
    assert (said["read"], said["examples"], said["dead_lettered"], said["skipped"]) == (68, 60, 8, 0)
    assert sum(said["splits"].values()) == 60
    letters = read_lines(tmp_path / "out" / "dead_letters")
    assert sorted(letter["origin"] for letter in letters) == [f"manifest.jsonl:{line}" for line in range(61, 69)]
    assert set(split_by_id(tmp_path / "out")) == {row["id"] for row in rows}


@pytest.mark.slow
def test_related_records_stay_together(data, tmp_path):
    assert preprocess(data, rows_of(200), tmp_path / "out", "split: {group: group, validation: 0.3, test: 0.3}") == 0
    splits = defaultdict(set)
    found = split_by_id(tmp_path / "out")
    for row in rows_of(200):
        splits[row["group"]].add(found[row["id"]])
    assert {len(names) for names in splits.values()} == {1}


def test_given_splits_are_kept_and_an_unknown_one_is_a_dead_letter(data, tmp_path):
    rows = [{**row, "part": SPLITS[n % 3]} for n, row in enumerate(rows_of(30))]
    rows[6]["part"], rows[7]["part"], rows[8]["part"] = "Training", "folds", "test_set"
    assert preprocess(data, rows, tmp_path / "out", "split: {column: part}") == 0
    assert split_by_id(tmp_path / "out") == {row["id"]: SPLITS[n % 3] for n, row in enumerate(rows) if n != 7}
    (letter,) = read_lines(tmp_path / "out" / "dead_letters")
    assert "found 'folds'" in letter["message"]


@pytest.mark.slow
def test_a_target_with_one_value_is_warned_of(data, tmp_path, capsys):
    rows = [{**row, "group": "symbols"} for row in rows_of(20)]
    assert preprocess(data, rows, tmp_path / "out") == 0
    said = capsys.readouterr().err
    assert (
        "warning: model.heads.group: its target has only one value in the training split, 'symbols'; nothing is" in said
    )
    assert said.count("warning: model.heads") == 1


@pytest.mark.slow
def test_a_rerun_gives_the_same_bytes_and_only_changed_parts_are_made_anew(data, tmp_path):
    folders = ("examples", "dead_letters", "parts", "golden")
    preprocess(data, rows_of(40), tmp_path / "out")
    before = snapshot(tmp_path / "out", *folders)
    assert preprocess(data, rows_of(40), tmp_path / "out") == 0
    assert about(tmp_path / "out")["skipped"] == 40
    assert snapshot(tmp_path / "out", *folders) == before
    assert preprocess(data, rows_of(41), tmp_path / "out") == 0
    assert about(tmp_path / "out")["examples"] == 41


@pytest.mark.slow
def test_another_division_into_splits_is_noticed(data, tmp_path):
    rows = rows_of(60)
    assert preprocess(data, rows, tmp_path / "out") == 0
    before = split_by_id(tmp_path / "out")
    assert preprocess(data, rows, tmp_path / "out", "split: {validation: 0.0, test: 0.0}") == 0
    assert set(before.values()) == set(SPLITS)
    assert set(split_by_id(tmp_path / "out").values()) == {"train"}


def test_a_folder_that_was_there_before_is_not_removed(data, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".keep").write_text("precious")
    assert preprocess(data, [{**row, "group": None} for row in rows_of(30)], tmp_path / "out") == 1
    assert (tmp_path / "out" / ".keep").read_text() == "precious"


def test_text_without_spaces_keeps_its_script_all_the_way(data, tmp_path):
    texts = ["我喜欢猫和狗", "猫が好きです", "ฉันชอบแมว", "I like cats"]
    rows = [{**row, "text": texts[n % 4]} for n, row in enumerate(rows_of(40))]
    assert preprocess(data, rows, tmp_path / "out") == 0
    import tensorflow as tf

    found = set()
    for split in SPLITS:
        for one in examples.read_examples(examples.shards_of(str(tmp_path / "out"), split)).batch(1):
            text = tf.io.parse_example(one, {"_text/text": tf.io.FixedLenFeature([], tf.string)})["_text/text"]
            ids = tf.io.parse_example(one, {"text/ids": tf.io.FixedLenFeature([8], tf.int64)})["text/ids"]
            found.add(text.numpy()[0].decode())
            assert int(tf.reduce_sum(tf.cast(ids > 3, tf.int64))) > 1
    assert found == set(texts)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no records"),
        ([{"id": "a", "picture": "a.png", "text": "x", "group": "y"}], "field 'image' reads column 'image'"),
        ([{"key": "a", "image": "a.png", "text": "x", "group": "y"}], "source.id: the data has no column 'id'"),
    ],
)
def test_data_that_does_not_fit_is_refused_and_nothing_is_written(data, tmp_path, capsys, rows, message):
    assert preprocess(data, rows, tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_column_without_any_value_in_training_is_named(data, tmp_path, capsys):
    rows = [{**row, "text": " "} for row in rows_of(20)]
    assert preprocess(data, rows, tmp_path / "out") == 1
    assert "fields.text: no record of the training split has a value" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there_is_named(data, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(SMALL.format(manifest=tmp_path / "none.jsonl", split=""))
    assert run("preprocess", config, "--output", tmp_path / "out") == 1
    assert "none.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_naughty_strings_are_all_accounted_for(data, shared_data, tmp_path):
    texts = json.loads(next((shared_data / "odd_text").glob("*.json")).read_text())
    pictures = sorted(path for path in (shared_data / "odd_images").rglob("*") if path.is_file())
    good = rows_of(1)[0]["image"]
    rows = [{"id": f"{n}", "image": good, "text": text, "group": "g"} for n, text in enumerate(texts)]
    rows += [{"id": f"file {n}", "image": str(path), "text": "x"} for n, path in enumerate(pictures)]
    manifest = write_manifest(data / "odd.jsonl", rows)
    config = data / "odd.yaml"
    text = SMALL.format(manifest=manifest, split="").replace("id: id}", f"id: id, roots: [{shared_data}]}}", 1)
    config.write_text(text)
    assert run("preprocess", config, "--output", tmp_path / "out") == 0
    said = about(tmp_path / "out")
    assert said["read"] == len(rows) == said["examples"] + said["dead_lettered"]
    assert said["examples"] > len(texts)
    letters = read_lines(tmp_path / "out" / "dead_letters")
    assert {letter["id"] for letter in letters} | set(split_by_id(tmp_path / "out")) == {row["id"] for row in rows}


@pytest.mark.slow
def test_tiny_proves_a_config_end_to_end(road, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(manifest=road.folder / "data" / "sample.jsonl"))
    assert run("preprocess", config, "--tiny", "--output", tmp_path / "examples") == 0
    assert run("train", config, "--tiny", "--examples", tmp_path / "examples", "--output", tmp_path / "model") == 0
    assert run("verify", tmp_path / "model") == 0


def test_what_is_passed_over_is_told_in_the_books(tmp_path, capsys):
    folder = tmp_path / "pictures"
    for number, picture in enumerate(sorted((EMOJI / "train" / "twemoji").iterdir())[:40]):
        (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / "ab"[number % 2] / f"{number}.png")
    (folder / "a/x.jxl").write_bytes(b"\xff\x0a")
    config = tmp_path / "config.yaml"
    config.write_text(
        "source: {use: image_folder, path: pictures}\n"
        "fields: {image: {use: image, size: [8, 8]}, category: {use: category}}\n"
        "model: {encoders: {image: {use: cnn}}, heads: {category: {use: classification, reads: image}}}\n"
    )
    assert run("preprocess", config, "--output", tmp_path / "out") == 0
    told = json.loads((tmp_path / "out" / "preprocess.json").read_text())["passed_over"]
    assert told == [{"reason": "of a kind that the source does not read", "count": 1, "first": ["a/x.jxl"]}]
    assert "passed over" in capsys.readouterr().err
    assert run("audit", tmp_path / "out") == 0
    assert "a/x.jxl" in capsys.readouterr().out
