"""Dead letters are tried again with their rows, and what succeeds moves to the labels."""

from __future__ import annotations

import base64
import json

import pytest
from small_road import COMMITTED, read_lines, read_rows, run, snapshot, write_manifest


def books(output):
    about = json.loads((output / "label.json").read_text())
    return tuple(about[name] for name in ("read", "labelled", "dead_lettered", "skipped", "rows", "dead_letters"))


@pytest.fixture
def output(road, pictures, tmp_path):
    """An output of 30 records: one picture is missing, one is broken, one line is none."""
    data = road.folder / "data"
    rows = pictures(30)
    rows[3]["image"], rows[4]["image"] = "late.png", "broken.png"
    (data / "late.png").unlink(missing_ok=True)
    (data / "broken.png").write_bytes(b"<!doctype html>")
    manifest = write_manifest(data / "replayed.jsonl", [*rows, b"not json"])
    assert run("label", road.model, "--input", manifest, "--output", tmp_path / "out") == 0
    assert books(tmp_path / "out") == (31, 28, 3, 0, 28, 3)
    return tmp_path / "out"


@pytest.fixture
def mend(road, pictures):
    """Puts a good picture where one was missing or broken."""
    good = (road.folder / "data" / pictures(1)[0]["image"]).read_bytes()
    return lambda name: (road.folder / "data" / name).write_bytes(good)


def test_what_was_mended_moves_to_the_labels(road, output, mend, tmp_path):
    mend("late.png")
    assert run("replay", output) == 0
    assert books(output) == (31, 29, 2, 0, 29, 2)
    assert {row["id"] for row in read_rows(output)} >= {"r00003"}
    assert sorted(letter["stage"] for letter in read_lines(output / "dead_letters")) == ["decode", "read"]
    manifest = road.folder / "data" / "replayed.jsonl"
    assert run("audit", output, "--input", manifest) == 0
    assert run("label", road.model, "--input", manifest, "--output", tmp_path / "anew") == 0
    assert snapshot(output, *COMMITTED) == snapshot(tmp_path / "anew", *COMMITTED)


def test_dead_letters_of_a_stream_are_replayed(output, mend):
    """A stream does not know how often a record was read, so its label.json says only what the output holds."""
    about = json.loads((output / "label.json").read_text())
    of_a_stream = ("rows", "dead_letters", "fingerprint", "plugins", "seconds")
    (output / "label.json").write_text(json.dumps({key: about[key] for key in of_a_stream}))
    mend("late.png")
    assert run("replay", output) == 0
    after = json.loads((output / "label.json").read_text())
    assert (after.keys(), after["rows"], after["dead_letters"]) == (set(of_a_stream), 29, 2)


def test_what_fails_again_stays_as_it_is_and_its_tries_are_counted(output, capsys):
    before = snapshot(output, *COMMITTED)
    assert run("replay", output) == 0
    capsys.readouterr()
    assert run("replay", output, "--error", "cannot open") == 0
    said = capsys.readouterr().err
    assert snapshot(output, *COMMITTED) == before
    counts = dict(line.rsplit("  ", 1) for line in said.splitlines()[1:])
    counts = {name.strip(): value.strip() for name, value in counts.items()}
    assert (counts["tried"], counts["not wanted"], counts["most tries of one"]) == ("1", "2", "2")


@pytest.mark.parametrize(
    ("flags", "ids"),
    [
        (("--only", "stage=decode", "--error", "no picture of a format"), {"r00004"}),
        (("--only", "error=MediaError"), {"r00003"}),
        (("--only", "field=text"), set()),
    ],
)
def test_only_what_is_wanted_is_tried(output, mend, flags, ids):
    mend("late.png")
    mend("broken.png")
    before = {row["id"] for row in read_rows(output)}
    assert run("replay", output, *flags) == 0
    assert {row["id"] for row in read_rows(output)} - before == ids


def test_the_records_of_several_inputs_are_replayed_an_input_at_a_time(road, output, mend, pictures, tmp_path, capsys):
    other = tmp_path / "elsewhere"
    other.mkdir()
    good = (road.folder / "data" / pictures(1)[0]["image"]).read_bytes()
    manifest = write_manifest(other / "more.jsonl", [{"id": "m1", "image": "m1.png"}, {"id": "m2", "image": "m2.png"}])
    (other / "m1.png").write_bytes(good)
    assert run("label", road.model, "--input", manifest, "--output", output) == 0
    (other / "m2.png").write_bytes(good)
    mend("late.png")
    assert run("replay", output) == 2
    assert f"name one with --input: {road.folder}/data/replayed.jsonl, {manifest}" in capsys.readouterr().err
    before = {row["id"] for row in read_rows(output)}
    assert run("replay", output, "--input", manifest) == 0
    assert {row["id"] for row in read_rows(output)} - before == {"m2"}
    assert run("replay", output, "--input", road.folder / "data" / "replayed.jsonl") == 0
    assert {row["id"] for row in read_rows(output)} - before == {"m2", "r00003"}
    assert run("audit", output, "--input", manifest) == 0
    assert run("audit", output, "--input", road.folder / "data" / "replayed.jsonl") == 0


@pytest.mark.parametrize("flags", [("--only", "stage=read"), ("--only", "colour=red"), ("--error", "(")])
def test_wrong_usage_is_told(output, flags):
    assert run("replay", output, *flags) == 2


def test_media_that_stood_in_rows_are_replayed_from_the_spool(road, pictures, tmp_path, mend):
    import pyarrow
    import pyarrow.parquet

    good = (road.folder / "data" / pictures(1)[0]["image"]).read_bytes()
    table = pyarrow.Table.from_pylist([{"id": "a", "image": good}, {"id": "b", "image": b"\xff" * 70_000}])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert run("label", road.model, "--input", tmp_path / "rows.parquet", "--output", tmp_path / "out") == 0
    (before,) = read_lines(tmp_path / "out" / "dead_letters")
    assert run("replay", tmp_path / "out") == 0
    assert read_lines(tmp_path / "out" / "dead_letters") == [before]


def test_stand_ins_that_the_data_forged_are_not_followed(road, pictures, tmp_path):
    picture = base64.b64encode((road.folder / "data" / pictures(1)[0]["image"]).read_bytes()).decode()
    forged = [{"sha256": "/dev/zero", "bytes": 1}, {"sha256": 5, "bytes": 1}, {"base64": "!"}, {"base64": 7}]
    forged += [{"base64": picture}, {"dict": {"base64": picture}}, {"dict": 1}]
    rows = [*pictures(3), *({"id": f"f{n}", "image": value} for n, value in enumerate(forged))]
    manifest = write_manifest(road.folder / "data" / "forged.jsonl", rows)
    assert run("label", road.model, "--input", manifest, "--output", tmp_path / "out") == 0
    before = snapshot(tmp_path / "out", *COMMITTED)
    assert run("replay", tmp_path / "out") == 0
    assert snapshot(tmp_path / "out", *COMMITTED) == before


def test_what_is_no_output_of_label_is_refused(road, capsys):
    assert run("replay", road.examples) == 1
    assert "not of `mmstream label`" in capsys.readouterr().err
