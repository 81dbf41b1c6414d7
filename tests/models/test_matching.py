"""Of the texts that a head writes, labelling takes the one that lies nearest to what it is about."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from small_road import read_rows, run, write_manifest

from mmstream.models.writing import Nearest

MATCH = ("--set", "model.heads.caption.match=image", "--set", "model.heads.caption.candidates=4")


@pytest.fixture(scope="module")
def model(road, tmp_path_factory):
    model = tmp_path_factory.mktemp("matching") / "model"
    short = ("--set", "training.epochs=1")
    assert run("train", road.config, *MATCH, *short, "--examples", road.examples, "--output", model) == 0
    return model


@pytest.fixture(scope="module")
def rows(road, model):
    pictures = road.folder / "data" / "sample.jsonl"
    assert run("label", model, "--input", pictures, "--output", model.parent / "out", "--embeddings") == 0
    return read_rows(model.parent / "out")


def test_rows_tell_how_near_the_text_lies(road, model, rows, tmp_path):
    """The text, read as a text, has that cosine to the picture."""
    assert len({row["caption_match"] for row in rows}) > 1
    written = {row["id"]: row["caption"] for row in rows}
    given = [json.loads(line) for line in (road.folder / "data" / "sample.jsonl").read_text().splitlines()]
    texts = [{"id": row["id"], "image": row["image"], "text": written[row["id"]]} for row in given]
    manifest = write_manifest(road.folder / "data" / "written.jsonl", texts)
    assert run("label", model, "--input", manifest, "--output", tmp_path / "out", "--embeddings") == 0
    read = read_rows(tmp_path / "out")
    assert [row["caption"] for row in read] == [row["caption"] for row in rows]
    near = []
    for row in read:
        one, other = np.array(row["embedding_image"]), np.array(row["embedding_text"])
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        near.append(row["caption_match"] == pytest.approx(cosine, abs=1e-4))
    assert np.mean(near) > 0.9, (
        "all but where a text of an untrained head is read as other tokens than it was written in"
    )


@pytest.mark.slow
def test_the_model_proves_itself_and_is_exported_with_it(model, tmp_path):
    assert run("verify", model) == 0
    assert run("export", model, "--to", tmp_path / "saved") == 0
    about = json.loads((tmp_path / "saved" / "mmstream.json").read_text())
    assert about["outputs"]["caption_match"] == {"dtype": "float32", "shape": ["B"]}
    assert about["golden"]["equal"] > 0


def test_the_nearest_text_is_taken_and_the_first_where_nothing_is_to_be_fitted():
    ids = np.array([[1, 3], [2, 3], [4, 3], [5, 3]], np.int64)
    vectors = np.array([[1, 0], [0, 2], [3, 0], [0, -1]], np.float32)
    wanted = np.array([[0.1, 5], [0, 0]], np.float32)
    texts = {"ids": ids, "score": np.array([0.9, 0.8, 0.7, 0.6], np.float32)}
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, (texts, vectors, wanted))
    found = keras.tree.map_structure(keras.ops.convert_to_numpy, Nearest(2)(*tensors))
    assert found["ids"].tolist() == [[2, 3], [4, 3]]
    assert found["score"].tolist() == pytest.approx([0.8, 0.7])
    assert found["match"].tolist() == pytest.approx([5 / np.hypot(0.1, 5), 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.heads.caption.match=text", "it does not read the field 'text'"),
        ("model.heads.group.match=image", "no encoder reads 'group'"),
        (
            "model.objectives.natural={use: adversarial_caption, head: caption, target: group, field: image}",
            "the head writes text, not 'group'",
        ),
        ("model.heads.caption.candidates=3", "has no effect without `match`"),
        (
            "model.objectives.align={use: adversarial_caption, head: captoin, target: text, field: image}",
            "Did you mean 'caption'",
        ),
        (
            "model.objectives.align={use: adversarial_caption, head: group, target: group, field: image}",
            "targets.group.ids",
        ),
    ],
)
def test_what_cannot_be_matched_is_told(road, capsys, change, message):
    assert run("check", road.config, "--set", change) == 1
    assert message in capsys.readouterr().err


def test_matching_what_nothing_aligns_is_warned_of(road, capsys):
    change = ("--set", "model.heads.caption.match=image", "--set", "model.objectives={}")
    assert run("check", road.config, *change) == 0
    assert "model.heads.caption.match: no objective aligns image and text" in capsys.readouterr().err
