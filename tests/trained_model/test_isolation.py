"""Inside the network, too, a bad record is found alone, and costs no other its label or its last digit."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from small_road import read_lines, read_rows, run, write_manifest

from mmstream.trained_model.artefact import TrainedModel


class ResourceExhaustedError(Exception):
    """As TensorFlow's."""


@pytest.fixture
def labelled(road, pictures, tmp_path):
    """Labels 150 records, of which one has a picture of its own, and gives rows, letters and the counts."""
    data = road.folder / "data"
    rows = pictures(150)
    (data / "poison.png").write_bytes(next(iter(sorted((data / "openmoji").iterdir())[::-1])).read_bytes())
    rows[70]["image"] = "poison.png"
    manifest = write_manifest(data / "isolated.jsonl", rows)

    def label(name):
        assert run("label", road.model, "--input", manifest, "--output", tmp_path / name) == 0
        about = json.loads((tmp_path / name / "label.json").read_text())
        return read_rows(tmp_path / name), read_lines(tmp_path / name / "dead_letters"), about

    return label


def is_poison(model, tensors):
    """bool[B]: the rows whose picture is the poisonous one."""
    if "poison" not in model.__dict__:
        from mmstream.records.media import Media
        from mmstream.records.record import Record

        media = Media(model.poison_folder)
        loaded = model.preprocessor.load(Record("", "", {"image": "poison.png"}), media)
        decoded = model.preprocessor.decode(loaded.values)
        model.__dict__["poison"] = model.preprocessor.tensors([decoded])["image"]["pixels"][0]
    return (tensors["image"]["pixels"] == model.__dict__["poison"]).all(axis=(1, 2, 3))


@pytest.fixture
def plant(road, monkeypatch):
    """Replaces what the network does."""
    monkeypatch.setattr(TrainedModel, "poison_folder", str(road.folder / "data"), raising=False)
    predict = TrainedModel.predict
    return lambda planted: monkeypatch.setattr(TrainedModel, "predict", lambda self, x: planted(predict, self, x))


def raises(predict, model, tensors):
    if is_poison(model, tensors).any():
        raise RuntimeError("this picture is too much")
    return predict(model, tensors)


def gives_nan(predict, model, tensors):
    outputs = predict(model, tensors)
    outputs["heads"]["group"]["logits"] = np.where(
        is_poison(model, tensors)[:, None], np.nan, outputs["heads"]["group"]["logits"]
    )
    return outputs


def leaves(predict, model, tensors):
    if is_poison(model, tensors).any():
        sys.exit(0)
    return predict(model, tensors)


@pytest.mark.parametrize(
    ("planted", "error"), [(raises, "RuntimeError"), (gives_nan, "NotFinite"), (leaves, "SystemExit")]
)
def test_a_record_that_the_network_fails_on_is_dead_lettered_alone(labelled, plant, planted, error):
    whole, none, _ = labelled("whole")
    plant(planted)
    rows, letters, _ = labelled("poisoned")
    assert not none
    assert [(letter["id"], letter["stage"], letter["error"]) for letter in letters] == [("r00070", "predict", error)]
    assert rows == [row for row in whole if row["id"] != "r00070"]  # to the last digit


def test_when_memory_runs_out_batches_become_smaller_and_it_is_reported(labelled, plant, capsys):
    whole, *_ = labelled("whole")

    def small_device(predict, model, tensors):
        if len(tensors["image"]["pixels"]) > 12:
            raise ResourceExhaustedError("OOM when allocating tensor")
        return predict(model, tensors)

    plant(small_device)
    rows, letters, about = labelled("smaller")
    assert (len(rows), letters, about["smaller_batch"]) == (150, [], 12)
    assert "memory ran out, and some records were labelled 12 at a time" in capsys.readouterr().err.replace("\n", " ")
    assert [row["group"] for row in rows] == [row["group"] for row in whole]
