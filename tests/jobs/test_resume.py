"""A rerun notices another model, and does with its labels only what it was told to."""

from __future__ import annotations

import json
import os
import shutil

import keras
import pyarrow.parquet
import pytest
from small_road import COMMITTED, read_lines, read_rows, recommit, run, snapshot, write_manifest

from mmstream.trained_model import artefact, model_directory
from mmstream.trained_model.model_files import write_model_json
from mmstream.trained_model.network_file import network_bytes
from mmstream.trained_model.versions import versions_of


def label(model, manifest, output, *more):
    return run("label", model, "--input", manifest, "--output", output, *more)


@pytest.fixture
def labelled(road, pictures, tmp_path):
    """(manifest, output) of 60 labelled records."""
    manifest = write_manifest(road.folder / "data" / "sixty.jsonl", pictures(60))
    assert label(road.model, manifest, tmp_path / "out") == 0
    return manifest, tmp_path / "out"


@pytest.fixture
def other_model(road, tmp_path):
    """A copy of the road's model with one piece changed."""

    def make(piece: str):
        copy = tmp_path / f"model with other {piece}"
        shutil.copytree(road.model, copy)
        about = json.loads((copy / "model.json").read_text())
        if piece == "weights":
            network = artefact.load(copy).network
            weight = network.trainable_weights[0]
            weight.assign(keras.ops.convert_to_numpy(weight) + 1e-6)
            (copy / "network.keras").write_bytes(network_bytes(network))
        elif piece == "calibration":
            about["calibration"]["keywords"]["changed"] = 1
        elif piece == "vocabulary":
            path = copy / "transform" / "transform_fn" / "assets" / "text"
            lines = path.read_text().splitlines()
            path.write_text("\n".join([*lines[:-1], "changed"]) + "\n")
        write_model_json(str(copy), about)
        return copy

    return make


@pytest.mark.parametrize(
    ("piece", "line"),
    [
        ("weights", "the network (layers, wiring, weights)"),
        ("calibration", "the calibration (thresholds)"),
        ("vocabulary", "the fitted preprocessing (vocabularies, scaling)"),
    ],
)
def test_another_model_is_refused_and_what_differs_is_named(labelled, other_model, piece, line, capsys):
    manifest, output = labelled
    before = snapshot(output, *COMMITTED)
    assert label(other_model(piece), manifest, output) == 1
    said = capsys.readouterr().err
    assert f"  {line}\n" in said
    assert "--relabel" in said
    assert snapshot(output, *COMMITTED) == before


@pytest.mark.parametrize("name", ["network.keras", "transform/transform_fn/assets/text", "golden/expected.npz"])
def test_a_model_with_a_file_that_was_changed_is_refused(road, labelled, tmp_path, name, capsys):
    manifest, output = labelled
    copy = tmp_path / "copy"
    shutil.copytree(road.model, copy)
    (copy / name).write_bytes((copy / name).read_bytes() + b"\n")
    assert label(copy, manifest, output) == 1
    assert f"{name} of the model {copy} is not what training wrote" in capsys.readouterr().err


def test_another_version_of_a_plugin_is_noticed(road, labelled, monkeypatch, capsys):
    manifest, output = labelled
    monkeypatch.setattr(
        model_directory, "versions_of", lambda config: {**versions_of(config), "mmstream-image": "99.0"}
    )
    assert label(road.model, manifest, output) == 1
    assert "  mmstream-image 0.1.0 → 99.0\n" in capsys.readouterr().err


def test_relabel_replaces_the_labels_of_another_model(labelled, other_model):
    manifest, output = labelled
    model = other_model("weights")
    assert label(model, manifest, output, "--relabel") == 0
    rows = read_rows(output)
    assert len(rows) == 60
    assert {row["_fingerprint"] for row in rows} == {artefact.load(model).fingerprint}
    assert run("audit", output, "--input", manifest) == 0
    assert label(model, manifest, output) == 0  # it is the output of that model now


@pytest.fixture
def fed_twice(road, pictures, labelled):
    """(manifest, other manifest, output) of 60 records and 2 more."""
    manifest, output = labelled
    more = [{**row, "id": f"m{n}"} for n, row in enumerate(pictures(2))]
    other = write_manifest(road.folder / "data" / "two_more.jsonl", more)
    assert label(road.model, other, output) == 0
    return manifest, other, output


def test_relabelling_one_input_tells_of_the_rows_of_another(fed_twice, other_model, capsys):
    manifest, other, output = fed_twice
    model = other_model("weights")
    assert label(model, manifest, output, "--relabel") == 0
    assert f"2 rows and dead letters of other inputs are still from another model; label them again, too: {other}" in (
        capsys.readouterr().err
    )
    assert json.loads((output / "label.json").read_text())["of_another_model"] == 2
    assert run("audit", output) == 1
    assert label(model, other, output) == 0
    assert run("audit", output, "--input", manifest) == 0


def test_rows_of_a_model_with_other_columns_are_not_bent_to_the_new_ones(road, fed_twice, capsys):
    manifest, _, output = fed_twice
    part = output / "labels" / "part-00000.parquet"
    table = pyarrow.parquet.read_table(part)
    pyarrow.parquet.write_table(table.append_column("size", [["big"] * table.num_rows]), part)
    recommit(output)
    before = snapshot(output, *COMMITTED)
    assert label(road.model, manifest, output) == 1
    assert "other output columns (size) wrote these rows. Remove them with --prune" in capsys.readouterr().err
    assert snapshot(output, *COMMITTED) == before
    assert label(road.model, manifest, output, "--prune") == 0


@pytest.mark.parametrize("name", ["labels/part-00000.parquet", "dead_letters/part-00000.jsonl"])
def test_a_damaged_file_is_named_and_what_it_has_lost_is_told(road, fed_twice, name, capsys):
    manifest, other, output = fed_twice
    (output / name).write_bytes(b"rotten")
    capsys.readouterr()
    assert label(road.model, manifest, output) == 0
    said = capsys.readouterr().err
    assert f"{name}" in said
    assert "it was rebuilt" in said
    lost = 2 if name.startswith("labels") else 0
    assert json.loads((output / "label.json").read_text()).get("lost", 0) == lost
    assert ("at least 2 rows and dead letters of other inputs" in said) == bool(lost)
    assert (f"label them again: {other}" in said) == bool(lost)


def test_an_interrupted_relabelling_goes_on(road, pictures, tmp_path, other_model, monkeypatch):
    manifest = write_manifest(road.folder / "data" / "two_parts.jsonl", pictures(1500))
    assert label(road.model, manifest, tmp_path / "out") == 0
    model = other_model("weights")
    from mmstream.outputs import commits

    commit = commits.commit_part

    def fail_on_the_last(output, part, *more, **named):
        if part == 1:
            raise OSError("the disk has gone")
        return commit(output, part, *more, **named)

    monkeypatch.setattr(commits, "commit_part", fail_on_the_last)
    assert label(model, manifest, tmp_path / "out", "--relabel", "--threads", 1) == 1
    monkeypatch.undo()
    assert {len(read_rows(tmp_path / "out"))} == {1500}
    assert run("audit", tmp_path / "out") == 1
    assert label(model, manifest, tmp_path / "out") == 0
    assert run("audit", tmp_path / "out") == 0


def test_the_expected_model_is_the_only_one_that_labels(road, pictures, tmp_path, capsys):
    manifest = write_manifest(road.folder / "data" / "few.jsonl", pictures(3))
    fingerprint = artefact.load(road.model).fingerprint
    assert label(road.model, manifest, tmp_path / "out", "--expect", "0" * 32) == 1
    assert fingerprint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert label(road.model, manifest, tmp_path / "out", "--expect", fingerprint) == 0


@pytest.mark.parametrize("piece", ["weights", "calibration"])
def test_a_model_that_claims_the_fingerprint_of_another_is_refused(
    road, pictures, tmp_path, other_model, capsys, piece
):
    forged, true = other_model(piece), artefact.load(road.model)
    about = json.loads((forged / "model.json").read_text())
    (forged / "model.json").write_text(json.dumps({**about, "fingerprints": true.fingerprints}))
    manifest = write_manifest(road.folder / "data" / "few.jsonl", pictures(3))
    assert label(forged, manifest, tmp_path / "out", "--expect", true.fingerprint) == 1
    assert "fingerprints: extra inputs are not permitted" in capsys.readouterr().err
    (forged / "model.json").write_text(json.dumps(about))
    assert label(forged, manifest, tmp_path / "out", "--expect", true.fingerprint) == 1
    assert "(--expect)" in capsys.readouterr().err


@pytest.mark.parametrize(("resume", "done"), [("values", 0), ("metadata", 2), ("content", 1)])
def test_resume_says_what_a_rerun_looks_at(road, pictures, tmp_path, resume, done):
    rows = pictures(20)
    data = road.folder / "data"
    for place in (4, 5):
        shutil.copy(data / rows[place]["image"], data / f"touched{place}.png")
        rows[place]["image"] = f"touched{place}.png"
    manifest = write_manifest(data / "touched.jsonl", rows)
    assert label(road.model, manifest, tmp_path / "out", "--resume", resume) == 0
    os.utime(data / "touched4.png", (1, 1))  # the same bytes, another time
    shutil.copy(data / rows[7]["image"], data / "touched5.png")  # other bytes
    assert label(road.model, manifest, tmp_path / "out", "--resume", resume) == 0
    assert json.loads((tmp_path / "out" / "label.json").read_text())["labelled"] == done


def test_prune_removes_what_is_not_in_the_input(road, pictures, labelled):
    _, output = labelled
    fewer = write_manifest(road.folder / "data" / "fewer.jsonl", pictures(50))
    assert label(road.model, fewer, output) == 0
    assert len(read_rows(output)) == 60
    assert label(road.model, fewer, output, "--prune") == 0
    assert len(read_rows(output)) == 50
    about = json.loads((output / "label.json").read_text())
    assert (about["pruned"], about["of_other_inputs"], about["rows"]) == (10, 0, 50)


def test_a_line_that_was_broken_and_is_mended_leaves_no_letter_behind(road, pictures, tmp_path, monkeypatch):
    from mmstream.outputs import parts

    monkeypatch.setattr(parts, "RECORDS_PER_PART", 4)
    rows = pictures(30)
    manifest = write_manifest(road.folder / "data" / "mended.jsonl", [*rows[:20], b"not json", *rows[20:]])
    assert label(road.model, manifest, tmp_path / "out") == 0
    assert len(read_lines(tmp_path / "out" / "dead_letters")) == 1
    write_manifest(manifest, [*rows[:20], {**rows[0], "id": "mended"}, *rows[20:]])
    assert label(road.model, manifest, tmp_path / "out") == 0
    assert (len(read_rows(tmp_path / "out")), read_lines(tmp_path / "out" / "dead_letters")) == (31, [])


def test_broken_lines_of_two_inputs_of_one_name_are_both_kept(road, pictures, tmp_path):
    for day in ("day1", "day2"):
        shutil.copytree(road.folder / "data" / "twemoji", tmp_path / day / "twemoji")
        rows = [{"id": f"{day} {n}", "image": row["image"]} for n, row in enumerate(pictures(400))]
        rows = [row for row in rows if row["image"].startswith("twemoji")]
        write_manifest(tmp_path / day / "manifest.jsonl", [*rows[:2], day.encode(), *rows[2:5]])
        assert label(road.model, tmp_path / day / "manifest.jsonl", tmp_path / "out") == 0
    letters = read_lines(tmp_path / "out" / "dead_letters")
    assert [(letter["origin"], letter["input"]) for letter in letters] == [("manifest.jsonl:3", n) for n in (0, 1)]
    assert label(road.model, tmp_path / "day1" / "manifest.jsonl", tmp_path / "out") == 0
    for day in ("day1", "day2"):
        assert run("audit", tmp_path / "out", "--input", tmp_path / day / "manifest.jsonl") == 0


def test_labels_of_two_formats_do_not_mix(road, labelled, capsys):
    manifest, output = labelled
    (output / "parts" / "part-00000.json").unlink()  # as after a kill
    assert label(road.model, manifest, output, "--sink", "jsonl") == 1
    assert "holds labels in another format (--sink parquet)" in capsys.readouterr().err


def test_labels_with_and_without_embeddings_do_not_mix(road, labelled, capsys):
    manifest, output = labelled
    assert label(road.model, manifest, output, "--embeddings") == 1
    assert "embeddings" in capsys.readouterr().err


def test_repartition_cuts_an_output_anew_and_a_rerun_has_nothing_to_do(road, pictures, tmp_path, monkeypatch):
    rows = pictures(30)
    rows[4]["image"] = "not_there.png"
    manifest = write_manifest(road.folder / "data" / "grown.jsonl", rows)
    label(road.model, manifest, tmp_path / "out")
    before = read_rows(tmp_path / "out")
    from mmstream.outputs import parts

    monkeypatch.setattr(parts, "RECORDS_PER_PART", 10)
    assert run("repartition", tmp_path / "out") == 0
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 4
    assert read_rows(tmp_path / "out") == before
    assert run("audit", tmp_path / "out", "--input", manifest) == 0
    monkeypatch.setattr(artefact.TrainedModel, "prepare", lambda self: pytest.fail("the network was loaded"))
    assert label(road.model, manifest, tmp_path / "out") == 0


@pytest.mark.parametrize("renames", range(6))
def test_a_repartition_that_is_interrupted_goes_on(road, labelled, monkeypatch, capsys, renames):
    manifest, output = labelled
    before = read_rows(output)
    from mmstream.outputs import parts, repartition

    monkeypatch.setattr(parts, "RECORDS_PER_PART", 10)
    rename, left = os.rename, iter(range(renames))

    def interrupted(*paths):
        if next(left, None) is None:
            raise OSError("the machine is switched off")
        rename(*paths)

    monkeypatch.setattr(repartition.os, "rename", interrupted)
    assert run("repartition", output) == 1
    monkeypatch.undo()
    assert label(road.model, manifest, output) == 1
    assert run("audit", output) == 1
    assert capsys.readouterr().err.count(f"`mmstream repartition {output}` was interrupted; run it again first") == 2
    assert run("repartition", output) == 0
    assert len(list((output / "labels").iterdir())) == 8
    assert read_rows(output) == before
    assert run("audit", output, "--input", manifest) == 0
