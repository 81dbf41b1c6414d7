"""`mmstream export`: a SavedModel that gives the model's labels to whoever has TensorFlow and nothing else."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_road import emoji_rows, run, write_manifest

import mmstream

SERVE = """
import base64, json, sys
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
given = json.load(sys.stdin).items()
inputs = {name: tf.constant([base64.b64decode(value) for value in values]) for name, values in given}
found = {name: value.numpy().tolist() for name, value in serve(**inputs).items()}
assert "mmstream" not in sys.modules and "keras" not in sys.modules
json.dump(found, sys.stdout, default=lambda value: value.decode())
"""


@pytest.fixture(scope="module")
def exported(road, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "served"
    assert run("export", road.model, "--to", folder, "--embeddings") == 0
    return folder


def served(folder: Path, **inputs: list[bytes]) -> dict[str, Any]:
    """What a process that knows nothing of mmstream gets."""
    encoded = {name: [base64.b64encode(value).decode() for value in values] for name, values in inputs.items()}
    command = [sys.executable, "-c", SERVE, str(folder)]
    done = subprocess.run(command, input=json.dumps(encoded), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_raw_values_give_the_labels_that_label_gives(road, exported):
    rows = emoji_rows(6)
    pictures = [(road.folder / "data" / row["image"]).read_bytes() for row in rows]
    texts = ["a cat", "", "猫が好き", "two dogs, one cat", "", "never seen"]
    found = served(exported, image=[*pictures, b""], text=[text.encode() for text in (*texts, "only a text")])
    records = [{"image": picture, "text": text or None} for picture, text in zip(pictures, texts, strict=True)]
    for number, row in enumerate(mmstream.load(road.model, embeddings=True).label(records)):
        for head in ("group", "caption", "keywords"):
            if row[head] is None:
                assert found[f"{head}_present"][number] == 0
                continue
            assert found[f"{head}_present"][number] == 1
            label, score = found[head][number], found[f"{head}_score"][number]
            if head == "keywords":
                label, score = label[: len(row[head])], score[: len(row[head])]
            assert label == row[head]
            assert score == pytest.approx(row[f"{head}_score"], rel=1e-3)
        for field in ("image", "text"):
            vector = row[f"embedding_{field}"] or [0.0] * 16
            assert found[f"embedding_{field}"][number] == pytest.approx(vector, rel=1e-3, abs=1e-4)
    assert [found["keywords_present"][-1], found["group_present"][-1]] == [0, 0]


def test_the_file_beside_it_says_what_goes_in_and_comes_out(road, exported):
    about = json.loads((exported / "mmstream.json").read_text())
    assert about["inputs"]["image"] == {
        "dtype": "string",
        "shape": ["B"],
        "holds": "the bytes of a file, empty where there is none",
    }
    assert about["outputs"]["group"] == {"dtype": "string", "shape": ["B"]}
    assert about["outputs"]["embedding_text"]["shape"] == ["B", 16]
    assert about["fingerprint"] == mmstream.load(road.model).fingerprint
    assert about["golden"] == {"equal": 3, "refused": {}}


def test_a_bad_value_is_an_error_of_the_server(exported):
    import tensorflow as tf

    serve = tf.saved_model.load(str(exported)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="neither JPEG nor PNG"):
        serve(image=tf.constant([b"?"]), text=tf.constant(["a cat"]))


def test_it_overwrites_nothing(road, exported, capsys):
    before = (exported / "saved_model.pb").read_bytes()
    assert run("export", road.model, "--to", exported) == 1
    assert "already exists" in capsys.readouterr().err
    assert (exported / "saved_model.pb").read_bytes() == before


def test_a_model_whose_golden_records_do_not_come_out_is_not_exported(road, tmp_path, capsys):
    shutil.copytree(road.model, tmp_path / "model")
    path = tmp_path / "model" / "golden" / "expected.npz"
    expected = dict(np.load(path))
    np.savez(path, **{name: array + 1 for name, array in expected.items()})
    assert run("export", tmp_path / "model", "--to", tmp_path / "served") != 0
    assert "golden" in capsys.readouterr().err
    assert not (tmp_path / "served").exists()


@pytest.mark.slow
def test_every_field_goes_in_by_tensors_where_a_graph_cannot_read_its_raw_values(road, tmp_path):
    rows = [
        {**row, "size": number % 7, "label": row["group"], "odd": number % 2 == 1, "half": number % 4 / 2}
        for number, row in enumerate(emoji_rows(80))
    ]
    manifest = write_manifest(road.folder / "data" / "eighty.jsonl", rows)
    config = tmp_path / "config.yaml"
    config.write_text(f"""
source: {{use: jsonl, path: {manifest}, id: id}}
fields:
  image: {{use: image, size: [8, 8]}}
  tags:  {{use: tags, column: keywords, min_count: 2}}
  kind:  {{use: category, columns: [label, odd, half]}}
  size:  {{use: number}}
  group: {{use: category}}
split: {{validation: 0.2}}
model:
  width: 8
  fusion: {{use: concat}}
  encoders:
    image: {{use: cnn, filters: [4]}}
    tags:  {{use: bag_of_tags}}
    kind:  {{use: embedding}}
    size:  {{use: mlp}}
  heads:
    group:   {{use: classification, reads: [image, tags, kind, size]}}
    growing: {{use: regression, target: size, reads: [image, tags]}}
training: {{epochs: 1, batch_size: 16}}
golden: 3
""")
    assert run("preprocess", config, "--output", tmp_path / "examples") == 0
    assert run("train", config, "--examples", tmp_path / "examples", "--output", tmp_path / "model") == 0
    assert run("export", tmp_path / "model", "--to", tmp_path / "served") == 0
    about = json.loads((tmp_path / "served" / "mmstream.json").read_text())
    assert {name: about["inputs"][name]["dtype"] for name in about["inputs"]} == {
        "image": "string",
        "tags_hot": "uint8",
        "tags_present": "float32",
        "kind": "string",
        "size": "float32",
    }
    assert about["inputs"]["kind"]["shape"] == ["B", 3]
    assert about["golden"] == {"equal": 3, "refused": {}}
