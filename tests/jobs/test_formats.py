"""The same records give the same examples and labels, whatever file they come in."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import pytest
from small_road import EMOJI, emoji_rows, read_lines, read_rows, run, write_manifest

from mmstream.preprocessing import examples
from mmstream.records.record import SPLITS

CONFIG = """
source: {source}
fields:
  image:    {{use: image, size: [12, 12]}}
  text:     {{use: text, length: 8}}
  keywords: {{use: tags, min_count: 2, separator: "|"}}
  group:    {{use: category}}
  rank:     {{use: number}}
model:
  width: 8
  encoders: {{image: {{use: cnn, filters: [4, 8]}}, rank: {{use: mlp, units: 4}}}}
  fusion: {{use: gated}}
  heads: {{keywords: {{use: tagging}}, group: {{use: classification}}}}
golden: 2
training: {{epochs: 1, batch_size: 16, steps_per_epoch: 2, modality_dropout: 0.2}}
"""
ROWS = [{**row, "rank": n / 4 if n % 5 else None} for n, row in enumerate(emoji_rows(60))]


def picture(row):
    return (EMOJI / "train" / row["image"]).read_bytes()


def inlined(row):
    return {**{key: row[key] for key in ("id", "text", "keywords", "group", "rank")}, "image": picture(row)}


def as_jsonl(folder: Path) -> str:
    write_manifest(folder / "rows.jsonl", [{**row, "image": str(EMOJI / "train" / row["image"])} for row in ROWS])
    return f"{{use: jsonl, path: rows.jsonl, id: id, roots: ['{EMOJI}']}}"


def as_csv(folder: Path) -> str:
    names = ("id", "image", "text", "keywords", "group", "rank")
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in ROWS:
            flat = {**row, "image": EMOJI / "train" / row["image"], "keywords": "|".join(row["keywords"])}
            writer.writerow(["" if flat[name] is None else flat[name] for name in names])
    return f"{{use: csv, path: rows.csv, id: id, roots: ['{EMOJI}']}}"


def as_parquet(folder: Path) -> str:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([inlined(row) for row in ROWS]), folder / "rows.parquet")
    return "{use: parquet, path: rows.parquet, id: id}"


def as_webdataset(folder: Path) -> str:
    with tarfile.open(folder / "rows.tar", "w") as archive:
        for number, row in enumerate(ROWS):
            rest = {key: row[key] for key in ("id", "keywords", "group", "rank")}
            members = {"png": picture(row), "txt": row["text"].encode(), "json": json.dumps(rest).encode()}
            for suffix, data in members.items():
                about = tarfile.TarInfo(f"shard/{number:04d}.{suffix}")
                about.size = len(data)
                archive.addfile(about, io.BytesIO(data))
    return "{use: webdataset, path: rows.tar, id: id}"


def as_tfrecord(folder: Path) -> str:
    import tensorflow as tf

    def feature(value):
        if value is None:
            return tf.train.Feature()
        if isinstance(value, float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        values = value if isinstance(value, list) else [value]
        values = [one if isinstance(one, bytes) else one.encode() for one in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    with tf.io.TFRecordWriter(str(folder / "rows.tfrecord")) as writer:
        for row in ROWS:
            columns = {name: feature(value) for name, value in inlined(row).items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=columns)).SerializeToString())
    return "{use: tfrecord, path: rows.tfrecord, id: id, lists: [keywords]}"


FORMATS = {
    "jsonl": as_jsonl,
    "csv": as_csv,
    "parquet": as_parquet,
    "webdataset": as_webdataset,
    "tfrecord": as_tfrecord,
}


def contents(output: Path) -> dict[str, dict[str, dict[str, bytes]]]:
    """{split: {id: {feature: its bytes}}} of all examples, without where they came from."""
    import tensorflow as tf

    found = {}
    for split in SPLITS:
        found[split] = {}
        for data in examples.read_examples(examples.shards_of(str(output), split)).as_numpy_iterator():
            features = tf.train.Example.FromString(data).features.feature
            row = {name: features[name].SerializeToString() for name in features if name not in ("_origin", "_digest")}
            found[split][row["_id"]] = row
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """{format: its folder, with examples}, and a model trained on the first."""
    folders = {}
    for name, write in FORMATS.items():
        folders[name] = folder = tmp_path_factory.mktemp(name)
        (folder / "config.yaml").write_text(CONFIG.format(source=write(folder)))
        assert run("preprocess", folder / "config.yaml", "--output", folder / "examples") == 0
    first = folders["jsonl"]
    command = ("train", first / "config.yaml", "--examples", first / "examples", "--output", first / "model")
    assert run(*command) == 0
    return folders


def labels(made, name, output):
    (path,) = made[name].glob("rows.*")
    assert run("label", made["jsonl"] / "model", "--input", path, "--output", output, "--root", EMOJI) == 0
    assert read_lines(output / "dead_letters") == []
    return [{key: row[key] for key in row if not key.startswith("_")} for row in read_rows(output)]


@pytest.fixture(scope="module")
def labels_of_jsonl(made, tmp_path_factory):
    return labels(made, "jsonl", tmp_path_factory.mktemp("labels") / "jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "jsonl"])
def test_every_format_gives_the_same_examples_and_labels(made, labels_of_jsonl, name, tmp_path):
    expected = contents(made["jsonl"] / "examples")
    assert sum(map(len, expected.values())) == len(ROWS)
    assert contents(made[name] / "examples") == expected
    assert len(labels_of_jsonl) == len(ROWS)
    assert labels(made, name, tmp_path / name) == labels_of_jsonl


@pytest.mark.slow
def test_media_inside_rows_are_spooled_once(made, tmp_path):
    for name in ("parquet", "webdataset", "tfrecord"):
        spooled = [path for path in (made[name] / "examples" / "spool").rglob("*") if path.is_file()]
        assert {path.read_bytes() for path in spooled} == {picture(row) for row in ROWS}
    assert not (made["csv"] / "examples" / "spool").exists()
