"""From records to labels with pretrained encoders: training needs their weights, labelling does not."""

from __future__ import annotations

import importlib.metadata
import json

import numpy as np
import pytest
from mmstream_pretrained import sources, weight_files
from PIL import Image
from small_road import read_rows, run, write_manifest

import mmstream
from mmstream.errors import MmstreamError

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
split: {{validation: 0.2, test: 0.2}}
fields:
  image: {{use: image, size: [32, 32], augment: []}}
  text:  {{use: text, length: 8, tokens: {{preset: minilm, length: 12}}}}
  kind:  {{use: category}}
model:
  width: 16
  encoders:
    image: {{use: efficientnet_lite}}
    text:  {{use: minilm}}
  fusion: {{use: attention}}
  heads:
    kind: {{use: classification}}
golden: 2
training: {{epochs: 2, batch_size: 16}}
"""
TEXTS = {
    "animal": ("a cat sleeps on the sofa", "two dogs in a park", "a horse eats grass", "the bird sings"),
    "traffic": ("a red bus at the stop", "cars wait at the lights", "a train leaves", "the tram is late"),
}


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A folder with a config, examples and a model of pretrained encoders."""
    try:
        sources.MINILM.find(), sources.EFFICIENTNET_LITE.find()
    except MmstreamError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("pretrained")
    random, rows = np.random.default_rng(1), []
    for number in range(64):
        kind = ("animal", "traffic")[number % 2]
        pixels = random.integers(0, 128, (40, 40, 3)) + (100 if kind == "animal" else 0)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        row = {"id": f"r{number:02d}", "image": f"{number}.png", "text": TEXTS[kind][number % 4], "kind": kind}
        rows.append(row if number % 5 else {**row, ("image", "text")[number % 2]: None})
    manifest = write_manifest(folder / "manifest.jsonl", rows)
    (folder / "config.yaml").write_text(CONFIG.format(manifest=manifest))
    assert run("preprocess", folder / "config.yaml", "--output", folder / "examples") == 0
    made = ("--examples", folder / "examples", "--output", folder / "model")
    assert run("train", folder / "config.yaml", *made) == 0
    return folder


def test_a_model_says_where_its_weights_come_from(road):
    origins = json.loads((road / "model" / "model.json").read_text())["origins"]
    assert origins == {"encoders.image": sources.EFFICIENTNET_LITE.told, "encoders.text": sources.MINILM.told}


def test_labelling_needs_no_package_with_weights(road, tmp_path, monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(weight_files.importlib.metadata, "distribution", absent)
    out = tmp_path / "labels"
    assert run("label", road / "model", "--input", road / "manifest.jsonl", "--output", out) == 0
    rows = read_rows(out)
    assert len(rows) == 64
    assert {row["kind"] for row in rows} == {"animal", "traffic"}
    assert run("evaluate", road / "model", "--examples", road / "examples", "--check-labels", "0") == 0
    assert run("verify", road / "model") == 0


def test_a_changed_vocabulary_of_a_model_is_refused(road, tmp_path):
    place = road / "model" / "transform" / "fields" / "text" / "tokenizer.json"
    before = place.read_bytes()
    place.write_bytes(before.replace(b"cat", b"dog"))
    try:
        with pytest.raises(MmstreamError, match="tokenizer"):
            mmstream.load(road / "model").prepare()
    finally:
        place.write_bytes(before)


def test_an_encoder_of_pieces_that_the_field_does_not_make_says_what_to_set(road, capsys):
    assert run("describe", road / "config.yaml", "--set", "fields.text={use: text, length: 8}") == 1
    assert "set `tokens: {preset: minilm}` in the field" in capsys.readouterr().err
    more = ("--set", "fields.text.tokens={preset: minlm}")
    assert run("check", road / "config.yaml", *more) == 1
    assert "no tokenizer is called 'minlm'. Did you mean 'minilm'?" in capsys.readouterr().err
    more = ("--set", "fields.text.tokens={preset: minilm, length: 600}")
    assert run("check", road / "config.yaml", *more) == 1
    assert "reads at most 512 pieces" in capsys.readouterr().err
