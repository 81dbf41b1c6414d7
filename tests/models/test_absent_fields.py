"""A fusion may read in place of an absent field what a generator makes of the others."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from small_road import CONFIG, emoji_rows, read_rows, run, write_manifest

from mmstream.models.layers import FillIn

IMPUTE = """
  fusion: {{use: attention}}
  heads:
    group: {{use: classification}}
    kind:  {{use: classification, target: group, reads: [image, keywords]}}
  objectives:
    complete: {{use: adversarial, fields: [image, text], hidden: 8, discriminator: [8]}}
  impute: complete
golden: 3
training: {{epochs: 1, batch_size: 16, modality_dropout: 0.5}}
"""


def reading_of(present, seed):
    random = np.random.default_rng(seed)
    present = np.array(present, np.float32)
    return {
        "tokens": random.normal(size=(len(present), 2, 3)).astype(np.float32),
        "mask": np.ones((len(present), 2), np.float32),
        "vector": random.normal(size=(len(present), 3)).astype(np.float32) * present[:, None],
        "present": present,
    }


def test_what_is_absent_is_filled_in_from_what_is_there_and_nothing_else_changes():
    readings = {"image": reading_of([1, 0, 0], 1), "text": reading_of([1, 1, 0], 2), "price": reading_of([1, 0, 0], 3)}
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, readings)
    made = {name: 2 * tensors["text" if name == "image" else "image"]["vector"] for name in ("image", "text")}
    found = keras.tree.map_structure(keras.ops.convert_to_numpy, FillIn()(tensors, made))
    for name in readings:
        for key, value in found[name].items():
            np.testing.assert_array_equal(value[0], readings[name][key][0], err_msg="the first record has all")
    made = 2 * readings["text"]["vector"][1]
    np.testing.assert_allclose(found["image"]["vector"][1], made, rtol=1e-6)
    np.testing.assert_allclose(found["image"]["tokens"][1, 0], made, rtol=1e-6)
    assert found["image"]["mask"][1].tolist() == [1, 0]
    assert found["image"]["present"].tolist() == [1, 1, 0], "of nothing, nothing is made"
    assert found["price"]["present"].tolist() == [1, 0, 0], "nothing is made of it"


@pytest.fixture(scope="module")
def model(road, tmp_path_factory):
    folder = tmp_path_factory.mktemp("impute")
    rows = emoji_rows(160)
    for number, row in enumerate(rows):
        for key in ((), ("image",), ("text",))[number % 3]:
            del row[key]
    manifest = write_manifest(road.folder / "data" / "absent.jsonl", rows)
    start, _, _ = CONFIG.replace("units: 8}}}}", "units: 8}}, keywords: {{use: bag_of_tags}}}}").partition("  heads:")
    (folder / "config.yaml").write_text(start.format(manifest=manifest) + IMPUTE.format())
    assert run("preprocess", folder / "config.yaml", "--output", folder / "examples") == 0
    train = ("train", folder / "config.yaml", "--examples", folder / "examples", "--output", folder / "model")
    assert run(*train) == 0
    return folder / "model"


@pytest.mark.slow
def test_a_model_that_fills_in_is_trained_saved_and_labels(model, road, tmp_path):
    history = (model / "history.csv").read_text()
    assert "complete_discriminator_accuracy" in history
    manifest = road.folder / "data" / "absent.jsonl"
    assert run("label", model, "--input", manifest, "--output", tmp_path / "out") == 0
    assert len(read_rows(tmp_path / "out")) == 160
    assert run("verify", model) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.impute=algn", "there is no objective 'algn'. Did you mean 'align'"),
        ("model.impute=align", "cannot impute missing fields"),
    ],
)
def test_what_cannot_fill_in_is_told(road, capsys, change, message):
    assert run("check", road.config, "--set", change) == 1
    assert message in capsys.readouterr().err


def test_filling_in_without_a_fusion_is_warned_of(road, capsys):
    objective = "model.objectives.complete={use: adversarial, fields: [image, text]}"
    assert run("check", road.config, "--set", objective, "--set", "model.impute=complete") == 0
    assert "model.impute has no effect" in capsys.readouterr().err
