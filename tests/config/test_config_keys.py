"""Every key of a config has an effect: a new one needs an entry here that says what it changes."""

from __future__ import annotations

import inspect
import json
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pydantic
import pytest
from mmstream_pretrained.efficientnet_lite import EfficientNetLiteBackbone
from small_road import emoji_rows, run, write_manifest

from beam_jobs.preprocess import input_of
from mmstream.config import loading
from mmstream.config.schema import Config, EncoderConfig, FieldConfig
from mmstream.inputs.input import pieces_of, rows_of
from mmstream.inputs.items import check_row
from mmstream.inputs.splits import split_for
from mmstream.models.compose import compose
from mmstream.models.loss_weights import LossWeights
from mmstream.outputs.near_keys import Keyed, near_keys
from mmstream.preprocessing.hashing import Hashing
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import Record
from mmstream.training import train
from mmstream.training.adaptation import Adaptation
from mmstream.training.batches import examples_of, training_batches
from mmstream.training.checkpoint import Checkpoint
from mmstream.training.class_counts import draws_of
from mmstream.training.description import compose_unfitted
from mmstream.training.transfer import take_weights

BASE = (
    "fields.other={use: category, column: emoji}",
    "training.modality_dropout=0.2",
    "training.early_stopping={monitor: val_loss, patience: 2}",
    "model.fusion={use: attention}",
    "model.heads.group={use: classification, weight: 0.5}",
    "model.heads.caption={use: caption, target: text, reads: image, units: 8, match: image, candidates: 4}",
    "model.objectives.complete={use: adversarial, fields: [image, text], hidden: 8, discriminator: [8]}",
)


def rows(config: Config, folder: Path) -> Any:
    job_input = input_of(config)
    found = [check_row(row, job_input) for row in rows_of(job_input, pieces_of(job_input))]
    return found, job_input.media().roots


def splits(config: Config, folder: Path) -> Any:
    return [
        split_for(
            Record(
                str(n), f"{('train', 'test')[n % 2]}.csv:{n}", {"text": str(n % 3), "fold": ("train", "test")[n % 2]}
            ),
            config.split,
        )
        for n in range(99)
    ]


def fields(config: Config, folder: Path) -> Any:
    preprocessor = Preprocessor(config.fields)
    record = Record("a", "", {"text": "a cat", "name": "a dog", "image": "a.png"})
    return preprocessor.component, preprocessor.values(record)


def digest(config: Config, folder: Path) -> Any:
    (folder / "a.png").write_bytes(b"a picture")
    record = Record("a", "", {"image": "a.png"})
    return Preprocessor(config.fields, resume=config.resume).digest(record, Media(str(folder)))


def media(config: Config, folder: Path) -> Any:
    (folder / "pictures").mkdir()
    (folder / "a.png").write_bytes(b"a picture")
    (folder / "pictures" / "a.png").write_bytes(b"another")
    record = Record("a", "", {"image": "a.png"})
    return Preprocessor(config.fields).load(record, Media(str(folder))).values["image"]


def network(config: Config, folder: Path) -> Any:
    made = compose_unfitted(config)
    objectives = {name: type(each).__name__ for name, each in made.objectives.items()}
    targets = train.MultimodalModel(made, config).targets
    return made.inference.to_json(), made.training.to_json(), objectives, targets


def wide(config: Config, folder: Path) -> Any:
    """The network if it reads n-grams, which have linear models."""
    text = FieldConfig(**{**config.fields["text"].model_dump(exclude_defaults=True), "ngrams": 50})
    encoders = {**config.model.encoders, "text": EncoderConfig(use="ngrams")}
    heads = {"group": config.model.heads["group"]}
    model = config.model.model_copy(update={"encoders": encoders, "heads": heads})
    read = config.model_copy(update={"fields": {**config.fields, "text": text}, "model": model})
    return compose_unfitted(read).inference.to_json()


def losses(config: Config, folder: Path) -> Any:
    weights = LossWeights(config)
    weights.build()
    found = []
    for epoch in (1, 2, 3):
        weights.begin_epoch(epoch, [{f"{name}_loss": 1.0 for name in config.losses}] * 2)
        one = dict.fromkeys(config.losses, keras.ops.ones(()))
        found.append(float(weights(one, one, training=True)))
    return found, weights.current()


def optimizer(config: Config, folder: Path) -> Any:
    made = train.make_optimizer(config, 10)
    return type(made).__name__, json.dumps(made.get_config(), default=lambda value: value.get_config())


def ending(config: Config, folder: Path) -> Any:
    """The best epoch, and whether training stops, after four that look better by one loss and worse by another."""
    checkpoint = Checkpoint(folder, config)
    checkpoint.set_model(SimpleNamespace(save_weights=lambda path: path.write_bytes(b""), stop_training=False))
    for epoch in range(4):
        checkpoint.on_epoch_end(epoch, {"loss": 1, "val_loss": 1 + epoch, "val_group_loss": 9 - epoch})
    return checkpoint.best_epoch, checkpoint.stopped


def fitting(config: Config, folder: Path) -> Any:
    """What Keras' `fit` is called with, and what is said before."""
    found: dict[str, Any] = {}

    class EnoughError(Exception):
        """The rest would take long."""

    def fit(self: Any, data: Any, *, steps_per_epoch: int, epochs: int, **more: Any) -> None:
        found.update(steps=steps_per_epoch, epochs=epochs, spec=str(data.element_spec), jit=self.jit_compile)
        raise EnoughError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.MultimodalModel, "fit", fit)
        patch.setattr(train.terminal, "say", lambda text, **_: found.update({text: True}))
        kept = {name: field for name, field in config.fields.items() if name != "other"}
        made = Path(config.source.path).parents[1] / "examples"
        with pytest.raises(EnoughError):
            train.train(config.model_copy(update={"fields": kept}), str(made), str(folder))
    return found


def drawn(config: Config, folder: Path) -> Any:
    """How often an epoch draws each group."""
    made = str(Path(config.source.path).parents[1] / "examples")
    preprocessor = Preprocessor(
        {name: config.fields[name] for name in config.fields if name != "other"}, f"{made}/transform"
    )
    count = json.loads(Path(made, "preprocess.json").read_text())["splits"]["train"]
    draws = draws_of(config, made, preprocessor.fitted)
    batches = training_batches(config, examples_of(config, preprocessor, made), count, 0, 2, draws).take(2)
    return Counter(int(each) for batch in batches for each in batch["targets"]["group"]["id"])


def golden(config: Config, folder: Path) -> Any:
    path = folder / "config.yaml"
    manifest = write_manifest(folder / "rows.jsonl", [{"id": str(n), "text": "a", "kind": "b"} for n in range(9)])
    path.write_text(
        f"source: {{use: jsonl, path: {manifest}, id: id}}\ngolden: {config.golden}\n"
        "fields: {text: {use: text, length: 4}, kind: {use: category}}\n"
        "model: {encoders: {text: {use: gru}}, heads: {kind: {use: classification, reads: text}}}\n"
    )
    assert run("preprocess", path, "--output", folder / "out") == 0
    return (folder / "out" / "golden" / "records.jsonl").read_text()


def adapted(config: Config, folder: Path) -> Any:
    """What becomes of the weights that come from elsewhere, in an encoder with a backbone, in three epochs."""
    image = config.model.encoders["image"]
    if image.use != "efficientnet_lite":
        image = EncoderConfig(use="efficientnet_lite")
    model = config.model.model_copy(update={"encoders": {**config.model.encoders, "image": image}})
    pictures = {"image": FieldConfig(use="image", column="image", size=[32, 32])}
    config = config.model_copy(update={"model": model, "fields": {**config.fields, **pictures}})
    made = Path(config.source.path).parents[1] / "examples"
    fields = {name: config.fields[name] for name in config.fields if name != "other"}
    preprocessor = Preprocessor(fields, str(made / "transform"))
    composition = (
        compose_unfitted(config)
        if not config.training.initialise
        else compose(config, preprocessor.specs, preprocessor.fitted)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EfficientNetLiteBackbone, "load_pretrained", lambda self: "")
        origins = take_weights(config, composition, preprocessor, str(made / "transform"))
    adaptation = Adaptation(config, composition)
    adapted = train.MultimodalModel(composition, config)
    adapted.build()
    optimizer = keras.optimizers.SGD(0.1)
    adaptation.prepare(optimizer, adapted, 1)
    adaptation.set_model(SimpleNamespace(make_train_function=lambda force: None))
    trainable = []
    for epoch in range(3):
        adaptation.on_epoch_begin(epoch)
        trainable.append(sorted(weight.path for weight in composition.training.trainable_weights))
    steps = []
    for weight in composition.training.trainable_weights if optimizer.built else []:
        before = np.array(weight)
        optimizer.update_step(keras.ops.ones_like(weight), weight.value, 0.1)
        steps.append(round(float(np.max(before - weight)), 4))
    return origins, trainable, steps


def near(config: Config, folder: Path) -> Any:
    """The keys that take the place of those of records with equal hashes."""
    hashing = Hashing.of(config.fields)
    records = [Keyed(key, {"text": b"a" * hashing.similarities["text"].size}) for key in "ab"]
    return near_keys(records, config.split, hashing)


Observe = Callable[[Config, Path], Any]
KEYS: dict[str, tuple[Observe, str]] = {
    "source.use": (rows, "source={use: csv, path: data/sample.jsonl, delimiter: '~'}"),
    "source.path": (rows, "source.path=data/other.jsonl"),
    "source.id": (rows, "source.id=image"),
    "source.roots": (rows, "source.roots=[elsewhere]"),
    "source.limit": (rows, "source.limit=2"),
    "split.validation": (splits, "split.validation=0.5"),
    "split.test": (splits, "split.test=0.5"),
    "split.group": (splits, "split.group=text"),
    "split.column": (splits, "split.column=fold"),
    "split.by_file": (splits, "split.by_file=true"),
    "split.near": (near, "split.near=true"),
    "fields.*.use": (fields, "fields.text={use: category}"),
    "fields.*.column": (fields, "fields.text.column=name"),
    "fields.*.columns": (fields, "fields.text={use: number, columns: [text, name]}"),
    "fields.*.reference": (media, "fields.image.reference='pictures/{}'"),
    "model.width": (network, "model.width=8"),
    "model.encoders.*.use": (network, "model.encoders.text={use: bag_of_words}"),
    "model.encoders.*.freeze": (adapted, "model.encoders.image={use: efficientnet_lite, freeze: {until_epoch: 1}}"),
    "model.encoders.*.learning_rate_scale": (
        adapted,
        "model.encoders.image={use: efficientnet_lite, freeze: false, learning_rate_scale: 0.5}",
    ),
    "model.encoders.*.adapt.lora": (adapted, "model.encoders.image={use: efficientnet_lite, adapt: {lora: 2}}"),
    "model.fusion.use": (network, "model.fusion={use: gated}"),
    "model.heads.*.use": (network, "model.heads.keywords={use: classification, target: group, reads: image}"),
    "model.heads.*.target": (network, "model.heads.group.target=other"),
    "model.heads.*.reads": (network, "model.heads.group.reads=image"),
    "model.heads.*.match": (network, "model.heads.caption={use: caption, target: text, reads: image, units: 8}"),
    "model.heads.*.candidates": (network, "model.heads.caption.candidates=5"),
    "model.heads.*.weight": (losses, "model.heads.group.weight=3"),
    "model.heads.*.from_epoch": (losses, "model.heads.group.from_epoch=2"),
    "model.heads.*.warm_up": (losses, "model.heads.group.warm_up=2"),
    "model.objectives.*.use": (network, "model.objectives.align={use: matching, fields: [image, text]}"),
    "model.objectives.*.weight": (losses, "model.objectives.align.weight=3"),
    "model.objectives.*.from_epoch": (losses, "model.objectives.align.from_epoch=2"),
    "model.objectives.*.warm_up": (losses, "model.objectives.align.warm_up=2"),
    "model.impute": (network, "model.impute=complete"),
    "model.auxiliary": (network, "model.auxiliary=0.3"),
    "model.wide": (wide, "model.wide=true"),
    "golden": (golden, "golden=2"),
    "resume": (digest, "resume=values"),
    "training.epochs": (optimizer, "training.epochs=7"),
    "training.batch_size": (fitting, "training.batch_size=8"),
    "training.optimizer.use": (optimizer, "training.optimizer={use: sgd, learning_rate: 0.001}"),
    "training.schedule": (optimizer, "training.schedule=constant"),
    "training.weighting": (losses, "training.weighting=uncertainty"),
    "training.precision": (network, "training.precision=mixed_bfloat16"),
    "training.seed": (network, "training.seed=2"),
    "training.modality_dropout": (network, "training.modality_dropout=0.5"),
    "training.early_stopping.monitor": (ending, "training.early_stopping.monitor=val_group_loss"),
    "training.early_stopping.patience": (ending, "training.early_stopping.patience=9"),
    "training.sampling.balanced": (drawn, "training.sampling={balanced: group}"),
    "training.steps_per_epoch": (fitting, "training.steps_per_epoch=2"),
    "training.strategy": (fitting, "training.strategy=mirrored"),
    "training.jit_compile": (fitting, "training.jit_compile=true"),
    "training.initialise.from": (adapted, "training.initialise={from: model, parts: [shared_space]}"),
    "training.initialise.parts": (adapted, "training.initialise={from: model, parts: [heads.group]}"),
    "training.initialise.freeze": (adapted, "training.initialise={from: model, parts: [heads.group], freeze: true}"),
    "training.initialise.learning_rate_scale": (
        adapted,
        "training.initialise={from: model, parts: [heads.keywords], learning_rate_scale: 0.5}",
    ),
}


def keys_of(section: type[pydantic.BaseModel], above: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        kinds = [kind for kind in (field.annotation, *typing.get_args(field.annotation)) if inspect.isclass(kind)]
        inner = next((kind for kind in kinds if issubclass(kind, pydantic.BaseModel)), None)
        each = ".*" if typing.get_origin(field.annotation) is dict else ""
        key = f"{above}{field.alias or name}{each}"
        yield from keys_of(inner, f"{key}.") if inner else [key]


def test_every_key_has_an_entry():
    assert sorted(keys_of(Config)) == sorted(KEYS)


@pytest.fixture(scope="module")
def usual(road):
    """What each way to look at it shows of the config as it is, looked at once."""
    write_manifest(road.folder / "data" / "other.jsonl", emoji_rows(3))
    seen: dict[Observe, Any] = {}

    def look(observe: Observe, folder: Path) -> Any:
        if observe not in seen:
            seen[observe] = observe(loading.load_config(str(road.config), BASE), folder)
        return seen[observe]

    return look


@pytest.mark.parametrize("key", KEYS)
def test_a_key_changes_something(road, usual, tmp_path, key):
    observe, override = KEYS[key]
    changed, other = tmp_path / "changed", tmp_path / "usual"
    changed.mkdir()
    other.mkdir()
    config = loading.load_config(str(road.config), [*BASE, override])
    assert observe(config, changed) != usual(observe, other)


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["model.heads.group.reads=image", "training.modality_dropout=0"], "model.fusion has no effect"),
        (["model.heads.group={use: classification, weight: 0, warm_up: 1}"], "from_epoch and warm_up of group have no"),
        (["training.early_stopping.patience=9"], "training.early_stopping.patience has no effect"),
        (["fields.more={use: category, column: emoji}"], "fields.more: no encoder reads it and no head predicts it"),
    ],
)
def test_a_key_that_has_no_effect_beside_others_says_so(road, overrides, why):
    config = loading.load_config(str(road.config), [*BASE, *overrides])
    assert any(warning.startswith(why) for warning in loading.warnings(config))
