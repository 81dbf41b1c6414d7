"""Rare classes: what training makes of them, by the losses of heads and by sampling."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest
from small_road import run, write_manifest

from mmstream.config.loading import load_config
from mmstream.interfaces import RESERVED_IDS
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.training import train

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
split: {{column: split}}
fields:
  told:  {{use: category}}
  kind:  {{use: category}}
  size:  {{use: category}}
  marks: {{use: tags}}
model:
  width: 8
  encoders: {{told: {{use: embedding}}}}
  heads:
    kind:  {{use: classification, reads: told}}
    size:  {{use: classification, reads: told, balance: class_weights}}
    marks: {{use: tagging, reads: told, balance: positive_weights}}
training: {{epochs: 8, batch_size: 32, optimizer: {{use: adamw, learning_rate: 0.05}}}}
"""
TARGETS = ("kind", "size", "marks")
WAYS = {
    "nothing": (),
    "class_weights": ("model.heads.kind.balance=class_weights",),
    "logit_adjustment": ("model.heads.kind.balance=logit_adjustment",),
    "sampling": ("training.sampling={balanced: kind}",),
}


def rows() -> list[dict]:
    """Of `told: b`, a third are rare: likelier than elsewhere, but not likely. Of each target, a quarter is missing."""
    random, made = np.random.default_rng(3), []
    for n in range(800):
        told = "b" if random.random() < 0.25 else "a"
        kind = "rare" if told == "b" and random.random() < 0.33 else "common"
        size = {"rare": "large", "common": "small"}[kind]
        row = {"id": str(n), "split": ("train", "train", "validation", "test")[n % 4], "told": told}
        row |= {"kind": kind, "size": size, "marks": ["all", kind]}
        made.append({name: None if name in TARGETS and random.random() < 0.25 else row[name] for name in row})
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balance")
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(manifest=write_manifest(folder / "rows.jsonl", rows())))
    assert run("preprocess", config, "--output", folder / "examples") == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_rare_class_is_found_beside_other_heads_and_missing_targets(folder, tmp_path, way):
    overrides = [flag for change in WAYS[way] for flag in ("--set", change)]
    arguments = ("--examples", folder / "examples", "--output", tmp_path / "model")
    assert run("train", folder / "config.yaml", *overrides, *arguments) == 0
    assert run("evaluate", tmp_path / "model", "--examples", folder / "examples") == 0
    heads = json.loads((tmp_path / "model" / "evaluation" / "test" / "metrics.json").read_text())["heads"]
    assert heads["kind"]["rare_recall"] == (way != "nothing")
    assert heads["kind"]["balanced_accuracy"] == pytest.approx(0.5 if way == "nothing" else 0.91, abs=0.03)
    assert heads["size"]["rare_recall"] == 1, "it is balanced in any case"
    assert run("verify", tmp_path / "model") == 0


@pytest.mark.slow
def test_examples_that_do_not_say_what_was_given_cannot_be_counted(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Preprocessor, "told", lambda self, decoded: {})  # as earlier versions did
    config, examples = folder / "config.yaml", tmp_path / "examples"
    assert run("preprocess", config, "--output", examples) == 0
    for sampling in ("null", "{balanced: kind}"):
        output = tmp_path / ("model" if sampling == "null" else "sampled")
        more = ("--set", f"training.sampling={sampling}", "--examples", examples, "--output", output)
        assert run("train", config, *more) == 1
        assert re.search(r"cannot count the classes of '(size|kind)': the examples in", capsys.readouterr().err)


@pytest.fixture
def drawn(road, tmp_path, monkeypatch):
    """Draws an epoch from the examples of the small road: the number of examples of each group, and the group ids."""

    def draw(*overrides: str) -> tuple[Counter[int], list[int], int]:
        given: dict = {}
        with monkeypatch.context() as patch:
            patch.setattr(train.MultimodalModel, "fit", lambda self, data, **more: given.update(more, data=data))
            patch.setattr(train, "save_model", lambda *_: None)
            patch.setattr(train.Checkpoint, "restore_best", lambda *_: None)
            config = load_config(
                str(road.config), ["model.heads={group: {use: classification, reads: image}}", *overrides]
            )
            train.train(config, str(road.examples), str(tmp_path / str(next(numbers))))
        ids: list[int] = []
        for batch in itertools.islice(given["data"], 3 * given["steps_per_epoch"]):
            ids += batch["targets"]["group"]["id"].numpy().tolist()
        return Counter(ids), ids, given["steps_per_epoch"]

    numbers = itertools.count()
    return draw


def test_sampling_makes_classes_equally_frequent_and_is_repeatable(drawn):
    plain, _, steps = drawn()
    classes, first, steps_then = drawn("training.sampling={balanced: group}")
    assert steps_then == steps, "an epoch is as long as before"
    assert min(classes) >= RESERVED_IDS
    assert classes.keys() == plain.keys()
    expected = sum(classes.values()) / len(classes)
    assert max(abs(count - expected) for count in classes.values()) < 0.2 * expected
    assert max(abs(count - expected) for count in plain.values()) > 0.3 * expected
    assert drawn("training.sampling={balanced: group}")[1] == first
    assert drawn("training.sampling={balanced: group}", "training.seed=2")[1] != first


@pytest.mark.slow
def test_records_without_the_target_are_drawn_as_often_as_before(folder, tmp_path, monkeypatch):
    given: dict = {}
    monkeypatch.setattr(train.MultimodalModel, "fit", lambda self, data, **more: given.update(more, data=data))
    monkeypatch.setattr(train, "save_model", lambda *_: None)
    monkeypatch.setattr(train.Checkpoint, "restore_best", lambda *_: None)
    config = load_config(str(folder / "config.yaml"), ["training.sampling={balanced: kind}"])
    train.train(config, str(folder / "examples"), str(tmp_path / "model"))
    kinds: Counter[int] = Counter()
    for batch in itertools.islice(given["data"], 20 * given["steps_per_epoch"]):
        kinds.update(batch["targets"]["kind"]["id"].numpy().tolist())
    missing = np.mean([row["kind"] is None for row in rows() if row["split"] == "train"])
    shares = {kind: count / kinds.total() for kind, count in kinds.items()}
    known = (1 - missing) / 2
    assert shares == pytest.approx({0: missing, RESERVED_IDS: known, RESERVED_IDS + 1: known}, abs=0.02)


def test_the_counts_that_heads_get_are_those_of_an_epoch(road, tmp_path, monkeypatch):
    got: dict[str, np.ndarray] = {}
    heads = (
        "model.heads={group: {use: classification, reads: image}, "
        "again: {use: classification, target: group, reads: image, balance: class_weights}, "
        "keywords: {use: tagging, reads: image, balance: positive_weights}}"
    )

    class EnoughError(Exception):
        """The rest would take long."""

    def fit(self, *_, **__):
        got.update({name: head.class_counts for name, head in self.head_layers.items() if name != "group"})
        raise EnoughError

    monkeypatch.setattr(train.MultimodalModel, "fit", fit)
    for place, sampling in enumerate(("null", "{balanced: group}")):
        config = load_config(str(road.config), [heads, f"training.sampling={sampling}"])
        with pytest.raises(EnoughError):
            train.train(config, str(road.examples), str(tmp_path / str(place)))
        splits = json.loads((road.examples / "preprocess.json").read_text())["splits"]
        assert got["again"].sum() == pytest.approx(splits["train"])
        if place:
            assert got["again"] == pytest.approx(np.full(len(got["again"]), got["again"].mean()))
        else:
            assert (np.diff(got["again"]) <= 0).all(), "vocabularies begin with what is most frequent"
            assert (np.diff(got["keywords"]) <= 0).all()
            assert got["again"][0] > got["again"][-1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.heads.group.balance=weights"], r"balance: must be 'class_weights', 'focal' or 'logit_adjustment'"),
        (["model.heads.keywords.balance=focal"], r"balance: must be 'positive_weights'"),
        (["model.heads.caption.balance=focal"], r"'caption' takes no parameter 'balance'"),
        (["training.sampling=balanced"], r"training.sampling: expected {balanced: HEAD}"),
        (["training.sampling={balanced: grop}"], r"there is no head 'grop'.*'group'"),
        (["training.sampling={balanced: keywords}"], r"'tagging' does not choose one class for each record"),
        (["training.sampling={balanced: caption}"], r"'caption' does not choose one class for each record"),
        (
            ["training.sampling={balanced: group}", "model.heads.group.balance=class_weights"],
            r"model.heads.group.balance: has no effect: training.sampling makes the classes of 'group' equally",
        ),
    ],
)
def test_what_cannot_be_balanced_is_refused(road, capsys, overrides, message):
    assert run("check", road.config, *[flag for change in overrides for flag in ("--set", change)]) == 1
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))


def test_focal_loss_and_sampling_go_together(road):
    overrides = ("--set", "training.sampling={balanced: group}", "--set", "model.heads.group.balance=focal")
    assert run("check", road.config, *overrides) == 0
