"""The audit finds what is wrong with an output, and nothing where all is well."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet
import pytest
from small_road import read_rows, recommit, run, write_manifest

from mmstream.outputs import ownership, parts


@pytest.fixture
def labelled(road, pictures, tmp_path):
    """(manifest, output): 40 records, one broken, one twice."""
    rows = pictures(40)
    rows[3]["image"] = "not_there.png"
    manifest = write_manifest(road.folder / "data" / "audited.jsonl", [*rows, rows[5], b"not json"])
    assert run("label", road.model, "--input", manifest, "--output", tmp_path / "out") == 0
    return manifest, tmp_path / "out"


def rewrite(output, change):
    path = output / "labels" / "part-00000.parquet"
    table = pyarrow.parquet.read_table(path)
    rows = change(table.to_pylist())
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), path)
    recommit(output)


def test_all_is_well(labelled, capsys):
    manifest, output = labelled
    assert run("audit", output, "--input", manifest) == 0
    assert run("audit", output, "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"labels": 39, "dead_letters": 3}


def drop(rows):
    return rows[1:]


def double(rows):
    return [*rows, rows[0]]


def swap(rows):
    rows[0]["_digest"], rows[1]["_digest"] = rows[1]["_digest"], rows[0]["_digest"]
    return rows


def forge(rows):
    rows[0]["_fingerprint"] = "f" * 32
    return rows


def test_a_row_that_also_stands_in_another_part_is_found(road, pictures, tmp_path, capsys):
    manifest, output = write_manifest(road.folder / "data" / "audited.jsonl", pictures(40)), tmp_path / "out"
    assert ownership.open_output(str(output), "label", 2 * parts.RECORDS_PER_PART).parts == 2
    assert run("label", road.model, "--input", manifest, "--output", output) == 0
    (moved, *_) = pyarrow.parquet.read_table(output / "labels" / "part-00001.parquet").to_pylist()
    rewrite(output, lambda rows: [moved, *rows])
    assert run("audit", output) == 1
    assert f"part-00000 holds '{moved['id']}', which belongs to another part" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (drop, "part-00000 should hold 39 labelled according to its commit record, but holds 38"),
        (drop, "neither a result nor a dead letter: 'r00000'"),
        (double, "'r00000' occurs twice: in labels and in labels"),
        (swap, "not made from the record that the input now has under this id: 'r00000', 'r00001'"),
        (forge, "made by another model or preprocessing: 1"),
    ],
)
def test_rows_that_were_tampered_with_are_found(labelled, capsys, change, finding):
    manifest, output = labelled
    rewrite(output, change)
    assert run("audit", output, "--input", manifest) == 1
    assert finding in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (lambda out: (out / "labels" / "part-00000.parquet").unlink(), "labels/part-00000.parquet is not there"),
        (lambda out: (out / "dead_letters" / "part-00000.jsonl").write_text(""), "its checksum differs"),
        (lambda out: (out / "parts" / "part-00000.json").unlink(), "part-00000 has no commit record"),
        (lambda out: (out / "label.json").unlink(), "there is no label.json"),
        (
            lambda out: (out / "labels" / "part-00009.parquet").write_text(""),
            "labels/part-00009.parquet belongs to no committed part",
        ),
    ],
)
def test_damage_is_found(labelled, capsys, damage, finding):
    _, output = labelled
    damage(output)
    assert run("audit", output) == 1
    assert finding in capsys.readouterr().out


def test_a_picture_that_has_changed_since_is_found(road, labelled, capsys):
    manifest, output = labelled
    picture = road.folder / "data" / "later.png"
    rows = [json.loads(line) for line in manifest.read_bytes().splitlines()[:1]]
    shutil.copy(road.folder / "data" / rows[0]["image"], picture)
    assert read_rows(output)
    lines = manifest.read_text().splitlines()
    other = json.loads(lines[1])["image"]
    lines[0] = json.dumps({**rows[0], "image": other})
    manifest.write_text("\n".join(lines) + "\n")
    assert run("audit", output, "--input", manifest) == 1
    assert "not made from the record that the input now has under this id: 'r00000'" in capsys.readouterr().out


def test_a_line_that_was_mended_since_is_missed(labelled, capsys):
    manifest, output = labelled
    lines = manifest.read_text().splitlines()
    assert lines[-1] == "not json"
    manifest.write_text("\n".join([*lines[:-1], lines[0].replace("r00000", "mended")]) + "\n")
    assert run("audit", output, "--input", manifest) == 1
    assert "neither a result nor a dead letter: 'mended'" in capsys.readouterr().out


def test_tensors_that_have_slipped_against_each_other_are_found(road, tmp_path, capsys):
    import tensorflow as tf

    shutil.copytree(road.examples, tmp_path / "examples")
    (shard,) = (tmp_path / "examples" / "examples" / "validation").glob("part-00000.tfrecord.gz")
    read = tf.data.TFRecordDataset(str(shard), compression_type="GZIP").as_numpy_iterator()
    examples = [tf.train.Example.FromString(data) for data in read]
    pictures = [example.features.feature["image/pixels"].bytes_list.value[0] for example in examples]
    with tf.io.TFRecordWriter(str(shard), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for example, picture in zip(examples, [*pictures[1:], pictures[0]], strict=True):
            example.features.feature["image/pixels"].bytes_list.value[0] = picture
            writer.write(example.SerializeToString())
    recommit(tmp_path / "examples")
    assert run("audit", tmp_path / "examples") == 0
    assert run("audit", tmp_path / "examples", "--input", road.folder / "data" / "sample.jsonl") == 1
    assert "examples that differ from what preprocessing produces from their records" in capsys.readouterr().out


def test_examples_are_audited_too(road, tmp_path, capsys):
    shutil.copytree(road.examples, tmp_path / "examples")
    manifest = road.folder / "data" / "sample.jsonl"
    assert run("audit", tmp_path / "examples", "--input", manifest) == 0
    one, other = sorted((tmp_path / "examples" / "examples").glob("*/part-00000.tfrecord.gz"))[:2]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    recommit(tmp_path / "examples")
    assert run("audit", tmp_path / "examples", "--input", manifest) == 1
    assert "in a different split than the config says" in capsys.readouterr().out


def test_what_is_no_output_is_refused(road, tmp_path, capsys):
    assert run("audit", tmp_path) == 1
    assert "is not an output of" in capsys.readouterr().err
