"""Labelling jobs: every record is accounted for, equal input gives equal bytes, a rerun does what is left."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_road import COMMITTED, read_lines, read_rows, run, snapshot, write_manifest

from mmstream.trained_model.artefact import TrainedModel


def label(road, manifest, output, *more):
    return run("label", road.model, "--input", manifest, "--output", output, *more)


def books(output):
    about = json.loads((output / "label.json").read_text())
    return tuple(about[name] for name in ("read", "labelled", "dead_lettered", "skipped"))


def manifest_of(road, rows, name="input.jsonl"):
    return write_manifest(road.folder / "data" / name, rows)


@pytest.fixture
def broken(road):
    """Seven broken files beside good ones: name -> contents."""
    good = next((road.folder / "data" / "twemoji").iterdir()).read_bytes()
    folder = road.folder / "data" / "broken"
    folder.mkdir(exist_ok=True)
    made = {
        "empty.png": b"",
        "half.png": good[: len(good) // 2],
        "page.png": b"<!doctype html>",
        "large.png": good + bytes(300_000),
        "bomb.png": bomb(),
        "noise.jpg": bytes(range(256)) * 4,
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return [f"broken/{name}" for name in (*made, "not_there.png")]


def bomb() -> bytes:
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b""))
    made = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_thousand_records_with_seven_broken_files_give_993_labels_and_7_dead_letters(
    road, pictures, broken, tmp_path, seed
):
    rows = pictures(1000)
    for place, name in zip(random.Random(seed).sample(range(1000), 7), broken, strict=True):
        rows[place]["image"] = name
    assert label(road, manifest_of(road, rows), tmp_path / "out") == 0
    assert books(tmp_path / "out") == (1000, 993, 7, 0)
    letters = read_lines(tmp_path / "out" / "dead_letters")
    assert sorted(letter["row"]["image"] for letter in letters) == sorted(broken)
    assert {letter["stage"] for letter in letters} == {"decode"}
    assert len({row["id"] for row in read_rows(tmp_path / "out")}) == 993


def test_each_kind_of_bad_row_becomes_one_dead_letter_with_its_origin(road, pictures, tmp_path):
    rows = [
        *pictures(20),
        {"id": "r00003", "image": pictures(1)[0]["image"]},
        {"image": pictures(1)[0]["image"]},
        {"id": "", "image": pictures(1)[0]["image"]},
        {"id": "wrong type", "image": 5},
        {"id": "nothing"},
        {"id": "outside", "image": "../../../etc/passwd"},
        b'{"id": "malformed", "image": ',
        b'{"id": "not utf-8 \xff"}',
        b"[1, 2]",
    ]
    assert label(road, manifest_of(road, rows, "bad.jsonl"), tmp_path / "out") == 0
    letters = {letter["origin"]: letter for letter in read_lines(tmp_path / "out" / "dead_letters")}
    assert books(tmp_path / "out") == (29, 20, 9, 0)
    assert sorted(letters) == [f"bad.jsonl:{line}" for line in range(21, 30)]
    messages = [letters[f"bad.jsonl:{line}"]["message"] for line in range(21, 30)]
    expected = [
        "stands already at bad.jsonl:4",
        "found nothing",
        "found ''",
        "found int",
        "no value in any field",
        "outside the allowed folders",
        "Expecting value",
        "utf-8",
        "expected a JSON object",
    ]
    assert not [(part, text) for part, text in zip(expected, messages, strict=True) if part not in text]


def test_a_rerun_gives_the_same_bytes_and_never_loads_the_network(road, pictures, tmp_path, monkeypatch):
    manifest = manifest_of(road, pictures(150))
    label(road, manifest, tmp_path / "out")
    before = snapshot(tmp_path / "out", *COMMITTED)
    monkeypatch.setattr(TrainedModel, "prepare", lambda self: pytest.fail("the network was loaded"))
    assert label(road, manifest, tmp_path / "out") == 0
    assert books(tmp_path / "out") == (150, 0, 0, 150)
    assert snapshot(tmp_path / "out", *COMMITTED) == before


def test_a_rerun_with_nothing_to_do_does_not_even_import_tensorflow(road, pictures, tmp_path):
    manifest = manifest_of(road, pictures(20))
    label(road, manifest, tmp_path / "out")
    for name in ("tensorflow", "keras"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('it was imported')")
    command = ["label", road.model, "--input", manifest, "--output", tmp_path / "out"]
    subprocess.run(
        [sys.executable, "-m", "mmstream.cli", *map(str, command)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert books(tmp_path / "out") == (20, 0, 0, 20)


def test_another_order_gives_the_same_rows_but_for_their_origin(road, pictures, tmp_path):
    rows = pictures(150)
    label(road, manifest_of(road, rows, "one.jsonl"), tmp_path / "one")
    random.Random(3).shuffle(rows)
    label(road, manifest_of(road, rows, "other.jsonl"), tmp_path / "other")
    one, other = ([{**r, "_origin": ""} for r in read_rows(tmp_path / name)] for name in ("one", "other"))
    assert one == other


def test_only_what_is_new_or_changed_is_done_again(road, pictures, tmp_path):
    rows = pictures(40)
    picture = road.folder / "data" / "changing.png"
    picture.write_bytes((road.folder / "data" / rows[0]["image"]).read_bytes())
    rows[5]["image"] = "changing.png"
    manifest = manifest_of(road, rows)
    label(road, manifest, tmp_path / "out")
    picture.write_bytes((road.folder / "data" / rows[1]["image"]).read_bytes())
    manifest_of(road, [*rows, *pictures(43)[40:]])
    assert label(road, manifest, tmp_path / "out") == 0
    assert books(tmp_path / "out") == (43, 4, 0, 39)


def test_a_dead_letter_whose_file_was_mended_is_labelled(road, pictures, tmp_path):
    rows = pictures(10)
    good = road.folder / "data" / rows[0]["image"]
    rows[3]["image"] = "late.png"
    (road.folder / "data" / "late.png").unlink(missing_ok=True)
    manifest = manifest_of(road, rows)
    label(road, manifest, tmp_path / "out")
    assert books(tmp_path / "out") == (10, 9, 1, 0)
    (road.folder / "data" / "late.png").write_bytes(good.read_bytes())
    label(road, manifest, tmp_path / "out")
    assert books(tmp_path / "out") == (10, 1, 0, 9)
    assert not read_lines(tmp_path / "out" / "dead_letters")


def test_fields_that_no_head_reads_may_lack_or_be_wrong(road, pictures, tmp_path):
    rows = [{**row, "text": 5, "group": ["wrong"]} for row in pictures(5)]
    assert label(road, manifest_of(road, rows), tmp_path / "out") == 0
    assert books(tmp_path / "out") == (5, 5, 0, 0)


def test_rows_have_the_documented_columns(road, pictures, tmp_path):
    label(road, manifest_of(road, pictures(3)), tmp_path / "out", "--embeddings")
    row = read_rows(tmp_path / "out")[0]
    assert list(row) == [
        *("id", "keywords", "keywords_score", "group", "group_score", "caption", "caption_score"),
        *("embedding_image", "embedding_text", "_fingerprint", "_digest", "_origin"),
    ]
    assert (type(row["caption"]), type(row["group"]), type(row["keywords"])) == (str, str, list)
    assert len(row["keywords"]) == len(row["keywords_score"])
    assert len(row["embedding_image"]) == 16


def test_a_folder_of_pictures_is_labelled_as_it_is(road, tmp_path):
    assert label(road, road.folder / "data" / "openmoji", tmp_path / "out") == 0
    rows = read_rows(tmp_path / "out")
    assert len(rows) == len(list((road.folder / "data" / "openmoji").iterdir()))
    assert rows[0]["id"] == rows[0]["_origin"]
    assert rows[0]["id"].endswith(".png")


def test_columns_can_have_other_names(road, pictures, tmp_path):
    rows = [{"key": row["id"], "file": row["image"]} for row in pictures(4)]
    manifest = manifest_of(road, rows)
    assert label(road, manifest, tmp_path / "out", "--column", "id=key", "--column", "image=file") == 0
    assert [row["id"] for row in read_rows(tmp_path / "out")] == [row["key"] for row in rows]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (["image=pictur"], "no row of {input} has a column 'pictur'. Did you mean 'picture'? Available: id, picture."),
        (["imag=picture"], "the model reads no column of that name. Did you mean 'image'? Available: id, image"),
        (["group=picture"], "the model reads no column of that name. Available: id, image"),
        (["image=picture", "image=id"], "--column 'image' is given twice"),
    ],
)
@pytest.mark.parametrize("command", ["label", "verify"])
def test_a_column_that_no_row_has_or_nothing_reads_is_refused(road, pictures, tmp_path, capsys, columns, why, command):
    rows = [{"id": row["id"], "picture": row["image"]} for row in pictures(3)]
    manifest = manifest_of(road, rows)
    output = ["--output", tmp_path / "out"] if command == "label" else []
    flags = [part for column in columns for part in ("--column", column)]
    assert run(command, road.model, "--input", manifest, *output, *flags) in (1, 2)
    assert why.format(input=manifest) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_column_that_only_a_late_row_has_is_taken(road, pictures, tmp_path):
    rows = pictures(120)
    rows[-1]["file"] = rows[-1]["image"]
    rows = [{key: value for key, value in row.items() if key != "image"} | {"text": "a cat"} for row in rows]
    manifest = manifest_of(road, rows)
    flags = ["--column", "image=file", "--embeddings"]  # which read the text, too
    assert label(road, manifest, tmp_path / "out", *flags) == 0
    assert books(tmp_path / "out") == (120, 1, 119, 0)


def test_more_dead_letters_than_allowed_end_with_3_and_the_output_stays(road, pictures, broken, tmp_path):
    rows = pictures(20)
    rows[4]["image"] = broken[0]
    manifest = manifest_of(road, rows)
    assert label(road, manifest, tmp_path / "a", "--max-dead-letters", "4%") == 3
    assert label(road, manifest, tmp_path / "a", "--max-dead-letters", "5%") == 0
    assert len(read_rows(tmp_path / "a")) == 19


def test_nothing_labelled_at_all_ends_with_3(road, broken, tmp_path):
    rows = [{"id": str(n), "image": name} for n, name in enumerate(broken)]
    assert label(road, manifest_of(road, rows), tmp_path / "out") == 3
    assert len(read_lines(tmp_path / "out" / "dead_letters")) == 7


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no records"),
        ([{"id": "a", "imagee": "a.png"}], "Did you mean 'imagee'"),
        ([{"key": "a", "image": "a.png"}], "has no column 'id'"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_and_nothing_is_written(road, tmp_path, capsys, rows, message):
    manifest = write_manifest(tmp_path / "in.jsonl", rows)
    assert label(road, manifest, tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_that_holds_something_else_is_refused_and_not_touched(road, pictures, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("precious")
    assert label(road, manifest_of(road, pictures(3)), tmp_path) == 1
    assert "name another --output" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_scheme_that_nothing_reads_is_named(road, tmp_path, capsys):
    assert label(road, "nowhere://bucket/manifest.jsonl", tmp_path / "out") == 1
    assert "no filesystem is installed for nowhere://" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--runer=FlinkRunner", "--stall-timeout=0", "--stall-timeout=soon"])
def test_wrong_usage_ends_with_2(road, tmp_path, capsys, flag):
    assert label(road, "x", tmp_path / "out", flag) == 2
    assert flag.partition("=")[0] in capsys.readouterr().err


def test_an_option_of_beam_is_passed_through(road, pictures, tmp_path):
    more = ("--direct_num_workers=1", "--direct_running_mode=in_memory")
    assert label(road, manifest_of(road, pictures(3)), tmp_path / "out", *more) == 0


def test_naughty_strings_and_odd_pictures_are_all_accounted_for(road, shared_data, tmp_path):
    texts = json.loads(next((shared_data / "odd_text").glob("*.json")).read_text())
    files = sorted(path for path in (shared_data / "odd_images").rglob("*") if path.is_file())
    rows = [{"id": f"{n} {text}", "image": str(files[n % len(files)]), "text": text} for n, text in enumerate(texts)]
    rows += [{"id": f"file {n}", "image": str(path)} for n, path in enumerate(files)]
    root = shared_data / "odd_images"
    assert label(road, manifest_of(road, rows), tmp_path / "out", "--root", root, "--embeddings") == 0
    read, labelled, _, skipped = books(tmp_path / "out")
    assert (read, skipped) == (len(rows), 0)
    letters = read_lines(tmp_path / "out" / "dead_letters")
    found = {row["id"] for row in read_rows(tmp_path / "out")} | {letter["id"] for letter in letters}
    assert found == {row["id"] for row in rows}
    assert labelled > 100


def test_two_inputs_may_feed_one_output(road, pictures, tmp_path):
    rows = pictures(30)
    label(road, manifest_of(road, rows[:20], "one.jsonl"), tmp_path / "out")
    assert label(road, manifest_of(road, rows[20:], "two.jsonl"), tmp_path / "out") == 0
    assert books(tmp_path / "out") == (10, 10, 0, 0)
    assert len(read_rows(tmp_path / "out")) == 30


def test_the_summary_says_what_was_done(road, pictures, tmp_path, capsys):
    label(road, manifest_of(road, pictures(3)), tmp_path / "out")
    said = dict(re.findall(r"^  (\S.*?)  +(.*)$", capsys.readouterr().err, re.MULTILINE))
    assert {key: said[key] for key in ("read", "labelled", "dead lettered", "skipped")} == {
        "read": "3",
        "labelled": "3",
        "dead lettered": "0",
        "skipped": "0",
    }
    assert said["labels"] == str(tmp_path / "out" / "labels" / "part-*.parquet")
    assert Path(tmp_path / "out" / "label.json").exists()


def test_what_is_passed_over_is_told_in_the_books_the_summary_and_the_audit(road, tmp_path, capsys):
    pictures = sorted((road.folder / "data" / "twemoji").iterdir())
    for name, picture in zip(("in/cat/1.png", "in/cat/2", "store/3.png"), pictures, strict=False):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, tmp_path / name)
    (tmp_path / "in/cat/x.psd").write_bytes(b"8BPS")
    (tmp_path / "in/cat/._1.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "in/dog").symlink_to(tmp_path / "store")
    folder, output = tmp_path / "in", tmp_path / "out"
    assert label(road, folder, output) == 0
    expected = [
        {"reason": "link to a folder outside the input; `roots` or --root allows it", "count": 1, "first": ["dog"]},
        {"reason": "hidden", "count": 1, "first": ["cat/._1.png"]},
        {"reason": "of a kind that the source does not read", "count": 1, "first": ["cat/x.psd"]},
    ]
    assert json.loads((output / "label.json").read_text())["passed_over"] == expected
    summary = capsys.readouterr().err
    assert re.search(r"passed over +1 link to a folder outside .* \(dog\); 1 hidden \(cat/\._1\.png\); 1 of a", summary)
    for more, begins in (
        ((), "note: the last run passed over 1 link"),
        (("--input", folder), "note: passed over in the input: 1 link"),
    ):
        assert run("audit", output, *more) == 0
        assert capsys.readouterr().out.startswith(begins)

    assert label(road, folder, output, "--root", tmp_path / "store") == 0
    assert json.loads((output / "label.json").read_text())["passed_over"] == expected[1:]
    assert sorted(row["id"] for row in read_rows(output)) == ["cat/1.png", "cat/2", "dog/3.png"]
    assert run("audit", output, "--input", folder) == 0
    (tmp_path / "in/cat/x.psd").unlink()
    (tmp_path / "in/cat/._1.png").unlink()
    assert label(road, folder, output, "--root", tmp_path / "store") == 0
    assert "passed_over" not in json.loads((output / "label.json").read_text())
