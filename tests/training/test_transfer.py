"""Parts take their weights from another model, and are frozen, unfrozen or slowed down."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from mmstream_image.field import Image
from small_road import CONFIG, emoji_rows, interrupt_after, run, write_manifest

from mmstream import terminal
from mmstream.config.loading import load_config
from mmstream.errors import ConfigError, MmstreamError
from mmstream.trained_model.artefact import load
from mmstream.training import train
from mmstream.training.checkpoint import Checkpoint
from mmstream.training.description import compose_unfitted, describe_config

TWO = (
    "model.encoders={image: {use: cnn, filters: [8, 16]}, text: {use: gru, units: 8}}",
    "model.heads={group: {use: classification, reads: image}}",
    "fields.image.augment=[]",
    "training.epochs=1",
    "training.steps_per_epoch=2",
)
ALIGNED = ("model.objectives={align: {use: contrastive, fields: [image, text]}}",)


def initialise(donor, parts, **more):
    return f"training.initialise={json.dumps({'from': str(donor), 'parts': parts, **more})}"


@pytest.fixture
def examples(road, tmp_path):
    """The examples of the road, beside which features may be kept."""
    return shutil.copytree(road.examples, tmp_path / "examples")


@pytest.fixture
def trained(road, examples):
    """Trains the road's config with these overrides."""

    def of(folder, *overrides):
        return train.train(load_config(str(road.config), [*TWO, *ALIGNED, *overrides]), str(examples), str(folder))

    return of


def weights(model, layer):
    return {weight.path: np.asarray(weight) for weight in model.network.get_layer(layer).weights}


@pytest.fixture
def said(monkeypatch):
    """The lines that are told to users."""
    lines = []
    monkeypatch.setattr(terminal, "say", lambda line, **more: lines.append(line))
    return lines


def is_equal(one, other):
    assert one.keys() == other.keys()
    return all(np.array_equal(one[key], other[key]) for key in one)


def test_parts_that_are_frozen_stay_as_the_donor_has_them(road, trained, tmp_path):
    model = trained(tmp_path / "m", initialise(road.model, ["encoders.image", "shared_space"], freeze=True))
    donor = load(road.model)
    for layer in ("encoders_image", "shared_map", "field_map_image", "field_map_text"):
        assert is_equal(weights(model, layer), weights(donor, layer))
    assert not is_equal(weights(model, "encoders_text"), weights(donor, "encoders_text"))
    assert model.about["origins"] == dict.fromkeys(["encoders.image", "shared_space"], donor.fingerprint)
    assert all(difference.within for difference in model.verify())


@pytest.mark.slow
def test_parts_that_are_not_frozen_begin_where_the_donor_ended(road, trained, tmp_path):
    stays = "training.optimizer={use: sgd, learning_rate: 1.0e-12}"
    model = trained(tmp_path / "m", stays, initialise(road.model, ["heads.group", "encoders.text"]))
    donor = load(road.model)
    for layer in ("heads_group", "encoders_text"):
        assert is_equal(weights(model, layer), weights(donor, layer))
    assert not is_equal(weights(model, "encoders_image"), weights(donor, "encoders_image"))


@pytest.mark.slow
def test_a_part_is_unfrozen_after_its_epoch(road, trained, tmp_path, monkeypatch):
    seen = []
    save = Checkpoint.on_epoch_end

    def watched(self, epoch, logs=None):
        seen.append([np.array(weight) for weight in self.model.training_network.get_layer("encoders_image").weights])
        save(self, epoch, logs)

    monkeypatch.setattr(Checkpoint, "on_epoch_end", watched)
    begun = initialise(road.model, ["encoders.image"], freeze={"until_epoch": 2})
    trained(tmp_path / "m", begun, "training.epochs=3")
    kernels = [0, *range(len(seen[0]))]
    assert all(np.array_equal(seen[0][n], seen[1][n]) for n in kernels)
    assert not np.array_equal(seen[1][0], seen[2][0])


@pytest.mark.slow
def test_a_part_may_learn_more_slowly(road, trained, tmp_path):
    step = ("training.optimizer={use: sgd, learning_rate: 0.1}", "training.steps_per_epoch=1")
    donor = load(road.model)

    def change(name, **more):
        model = trained(tmp_path / name, *step, initialise(road.model, ["encoders.image", "heads.group"], **more))
        before, after = (weights(each, "encoders_image") for each in (donor, model))
        return {key: after[key] - before[key] for key in before if "moving" not in key}

    whole, tenth = change("whole"), change("tenth", learning_rate_scale=0.1)
    assert max(np.abs(value).max() for value in whole.values()) > 0
    for key, value in whole.items():
        np.testing.assert_allclose(tenth[key], value / 10, rtol=1e-2, atol=1e-6)


@pytest.mark.slow
def test_vocabularies_that_differ_are_mapped_token_by_token(road, tmp_path, said):
    manifest = write_manifest(road.folder / "data" / "others.jsonl", emoji_rows(900)[1::3])
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(manifest=manifest))
    assert run("preprocess", config, "--output", tmp_path / "others") == 0
    begun = initialise(road.model, ["encoders.text", "heads.caption", "heads.group"], freeze=True)
    begun = load_config(str(config), [*TWO[3:], begun])
    model = train.train(begun, str(tmp_path / "others"), str(tmp_path / "m"))
    donor = load(road.model)
    ours, theirs = (each.all_fields.fitted["text"].vocabulary for each in (model, donor))
    assert ours != theirs
    assert set(ours) & set(theirs)
    pairs = [(4 + ours.index(word), 4 + theirs.index(word)) for word in ours if word in theirs]
    own, other = zip(*pairs, strict=True)
    embeddings = [each.network.get_layer("encoders_text").embedding.embeddings for each in (model, donor)]
    np.testing.assert_array_equal(np.asarray(embeddings[0])[list(own)], np.asarray(embeddings[1])[list(other)])
    np.testing.assert_array_equal(np.asarray(embeddings[0])[:4], np.asarray(embeddings[1])[:4])
    logits = [each.head("caption").logits for each in (model, donor)]
    np.testing.assert_array_equal(
        np.asarray(logits[0].kernel)[:, list(own)], np.asarray(logits[1].kernel)[:, list(other)]
    )
    np.testing.assert_array_equal(np.asarray(logits[0].bias)[list(own)], np.asarray(logits[1].bias)[list(other)])
    told = f"encoders.text: {len(pairs):,} of {len(ours):,} values are in the vocabulary of"
    assert any(told in line for line in said)


@pytest.mark.parametrize(
    ("overrides", "parts", "message"),
    [
        (
            ("model.width=24",),
            ["encoders.image"],
            r"encoders\.image: the tensor 'projection/kernel' is \[16, 16\] in the model .*, but must be \[16, 24\]",
        ),
        (
            ("model.encoders.image={use: vit, units: 8, heads: 2}",),
            ["encoders.image"],
            r"encoders\.image of the model .* has no tensor '.*', as it is another kind",
        ),
        (
            ("model.heads.other={use: classification, target: group, reads: image}",),
            ["heads.other"],
            r"the model .* has no heads\.other",
        ),
    ],
)
def test_what_does_not_fit_is_named(road, trained, tmp_path, overrides, parts, message):
    with pytest.raises(MmstreamError, match=message):
        trained(tmp_path / "m", *overrides, initialise(road.model, parts))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (initialise("m", ["encoders.picture"]), "training.initialise.parts[0]: there is no part 'encoders.picture'"),
        (initialise("m", ["encoders.image", "encoders.image"]), "'encoders.image' is named twice"),
        (initialise("m", ["fusion"]), "there is no part 'fusion'"),
        ("model.encoders.image.freeze=true", "model.encoders.image.freeze: has no effect: 'cnn' has no backbone"),
        ("model.encoders.image.adapt={lora: 4}", "model.encoders.image.adapt: has no effect: 'cnn' has no backbone"),
        ("model.encoders.image.learning_rate_scale=0.1", "learning_rate_scale: has no effect: 'cnn' has no backbone"),
        ("training.initialise={form: m, parts: [fusion]}", "unknown key 'form'. Did you mean 'from'?"),
        ("model.encoders.image.freeze=2", "expected true, false, or {until_epoch: N}; found 2"),
    ],
)
def test_mistakes_in_the_config_are_named(road, override, message):
    with pytest.raises(ConfigError) as raised:
        load_config(str(road.config), [override])
    assert message in str(raised.value)


@pytest.mark.slow
def test_frozen_parts_that_read_no_augmented_field_run_once(road, trained, examples, tmp_path, monkeypatch, said):
    sgd = "training.optimizer={use: sgd, learning_rate: 0.1}"
    begun = (sgd, initialise(road.model, ["encoders.image"], freeze=True))
    once = trained(tmp_path / "once", *begun)
    assert any("computing once what the frozen layers give for image" in line for line in said)
    said.clear()
    (folder,) = (examples / "features").iterdir()
    again = trained(tmp_path / "again", *begun, "model.heads.group.weight=0.7")
    assert not any("computing once" in line for line in said)
    assert list((examples / "features").iterdir()) == [folder]
    monkeypatch.setattr(Image, "augments", True)
    every = trained(tmp_path / "every", *begun)
    for layer in ("heads_group", "encoders_text", "field_map_image"):
        for one, other in zip(
            once.network.get_layer(layer).weights, every.network.get_layer(layer).weights, strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    assert all(difference.within for model in (once, again) for difference in model.verify())


@pytest.mark.slow
def test_an_augmented_field_is_encoded_in_each_epoch(road, trained, tmp_path, said):
    trained(tmp_path / "m", initialise(road.model, ["encoders.image"], freeze=True), "fields.image.augment=[flip]")
    assert not any("computing once" in line for line in said)


@pytest.mark.slow
def test_an_interrupted_training_of_parts_goes_on(road, trained, tmp_path, monkeypatch):
    begun = (initialise(road.model, ["encoders.image"], freeze={"until_epoch": 1}), "training.epochs=3")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "m", *begun)
    model = trained(tmp_path / "m", *begun)
    assert model.about["epochs"] == 3
    assert not is_equal(weights(model, "encoders_image"), weights(load(road.model), "encoders_image"))


@pytest.mark.slow
def test_parts_of_another_donor_do_not_go_into_the_same_model(road, trained, tmp_path):
    donor = shutil.copytree(road.model, tmp_path / "donor")
    begun = initialise(donor, ["encoders.image"])
    trained(tmp_path / "m", begun)
    shutil.rmtree(donor)
    shutil.copytree(tmp_path / "m", donor)
    with pytest.raises(MmstreamError, match="used another config or other examples"):
        trained(tmp_path / "m", begun)
    shutil.rmtree(donor)
    with pytest.raises(MmstreamError, match="donor is not a model"):
        trained(tmp_path / "other", begun)
    assert not (tmp_path / "other").exists()


def test_describe_counts_the_weights_of_a_backbone(road):
    overrides = [
        "fields.image={use: image, size: [32, 32], augment: []}",
        "model.encoders.image={use: efficientnet_lite}",
    ]
    frozen, trained = (
        describe_config(load_config(str(road.config), [*overrides, f"model.encoders.image.freeze={freeze}"]))
        for freeze in ("true", "false")
    )
    (row,) = (part for part in frozen["parts"] if part["part"] == "model.encoders.image")
    assert row["parameters"] > 3_400_000
    assert frozen["memory"]["weights"] == trained["memory"]["weights"]
    saved = trained["memory"]["weights_in_training"] - frozen["memory"]["weights_in_training"]
    assert saved > 3 * 3_400_000 * 4 / 2**20 - 1


@pytest.mark.parametrize(("more", "is_fixed"), [({}, False), ({"freeze": False}, False), ({"freeze": True}, True)])
def test_a_backbone_from_another_model_is_frozen_only_if_that_is_said(road, more, is_fixed):
    pictures = "fields.image={use: image, size: [32, 32], augment: []}"
    begun = initialise(road.model, ["encoders.image"], **more)
    config = load_config(str(road.config), [pictures, "model.encoders.image={use: efficientnet_lite}", begun])
    assert list(compose_unfitted(config).fixed) == ["image"] * is_fixed
