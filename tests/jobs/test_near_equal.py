"""Near-equal pictures and texts in different splits: `preprocess` counts them, and `split.near` keeps them together."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from mmstream_text.similarity import TextHash
from PIL import Image, ImageEnhance
from small_road import EMOJI, run, snapshot, write_manifest

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
split: {split}
fields:
  image: {{use: image, size: [32, 32]}}
  text:  {{use: text, length: 8}}
  kind:  {{use: category}}
model:
  encoders: {{image: {{use: cnn}}}}
  heads: {{kind: {{use: classification, reads: image}}}}
"""
GIVEN = "{column: part}"
DRAWN = ("ambulance", "anchor", "avocado", "bacon", "banana", "banjo", "bat", "bear", "bed", "beetle", "bird", "bagel")
WRITTEN = (
    "Stay comfortable, and stay in the race - no matter what!",
    "我喜欢猫和狗，也喜欢鸟。",
    "Grasp a dumbbell in each hand, palms up.",
    "ระฆังใบใหญ่ดังกังวาน",
    "Un chien qui dort; un chat qui veille.",
    "twelve months of rain",
    "the tower at night",
    "a red bicycle",
    "soup",
    "two left shoes",
    "nobody at home",
    "yes",
)
PLAIN = str.maketrans(dict.fromkeys(",.!;-，。", " "))


def drawing(name: str) -> Image.Image:
    with Image.open(EMOJI / "train" / "twemoji" / f"{name}.png") as picture:
        whole = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def copy(picture: Image.Image, number: int) -> bytes:
    """The picture as somebody may have saved it again."""
    if number % 3 == 0:
        return saved(picture.resize((picture.width * 3 // 5, picture.height * 3 // 5), Image.Resampling.LANCZOS))
    if number % 3 == 1:
        return saved(picture, "JPEG", quality=60)
    return saved(ImageEnhance.Brightness(picture).enhance(1.1))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """(folder, rows): twelve records that have nothing in common, copies of their pictures, and of their texts."""
    folder = tmp_path_factory.mktemp("near")
    made = []
    for number, (name, text) in enumerate(zip(DRAWN, WRITTEN, strict=True)):
        picture = drawing(name)
        (folder / f"{name}.png").write_bytes(saved(picture))
        (folder / f"{name}_copy").write_bytes(copy(picture, number))
        made.append({"id": f"{name}", "image": f"{name}.png", "text": text})
        made.append({"id": f"{name}_drawn", "image": f"{name}_copy", "text": None})
        made.append({"id": f"{name}_written", "image": None, "text": text.translate(PLAIN).upper()})
    return folder, [{**row, "kind": "ab"[number % 2]} for number, row in enumerate(made)]


def preprocess(folder: Path, rows: list[dict[str, Any]], output: Path, split: str) -> int:
    manifest = write_manifest(folder / f"{output.name}.jsonl", rows)
    config = folder / f"{output.name}.yaml"
    config.write_text(CONFIG.format(manifest=manifest, split=split))
    return run("preprocess", config, "--output", output)


def about(output: Path) -> dict[str, Any]:
    return json.loads((output / "preprocess.json").read_text())


def splits_of(output: Path) -> dict[str, str]:
    lines = [json.loads(line) for path in (output / "hashes").iterdir() for line in path.read_text().splitlines()]
    return {line[0]: line[1] for line in lines if isinstance(line, list)}


def with_parts(rows, **parts):
    """The rows with their splits: "train" but for copies of pictures and of texts."""
    of = {"": "train", "_drawn": parts.get("drawn", "train"), "_written": parts.get("written", "train")}
    return [{**row, "part": of[row["id"].removeprefix(row["id"].split("_")[0])]} for row in rows]


def test_copies_in_other_splits_are_counted_and_named(rows, tmp_path, capsys):
    folder, made = rows
    given = with_parts(made, drawn="validation", written="test")
    assert preprocess(folder, given, tmp_path / "out", GIVEN) == 0
    near = about(tmp_path / "out")["near"]
    nothing = {"train": 0, "validation": 0, "test": 0}
    assert near["image"]["near"] == {
        "train": {"validation": 12, "test": 0},
        "validation": {"train": 12, "test": 0},
        "test": {"train": 0, "validation": 0},
    }
    assert near["text"]["near"]["test"] == {"train": 12, "validation": 0}
    assert [near[field]["compared"] for field in ("image", "text")] == [24, 24]
    assert near["image"]["groups"][0] == {
        "records": 2,
        "splits": {**nothing, "train": 1, "validation": 1},
        "first": ["ambulance", "ambulance_drawn"],
    }
    said = capsys.readouterr().err
    assert "12 of validation in train; groups: 2 records ('ambulance', 'ambulance_drawn')" in said
    assert "warning: fields.text: 12 of 24 validation and test records (50.0%) have a near-equal value" in said
    assert "split: {near" not in said, "these splits are given"


@pytest.mark.slow
def test_records_that_have_nothing_in_common_are_not_counted(rows, tmp_path, capsys):
    folder, made = rows
    blank = {"white": Image.new("RGB", (64, 64), "white"), "blue": Image.new("RGB", (40, 40), (0, 0, 250))}
    for name, picture in blank.items():
        (folder / f"{name}.png").write_bytes(saved(picture))
    given = [{**row, "part": ("train", "test")[n % 2]} for n, row in enumerate(made[::3])]
    given += [
        {"id": f"{name} {part}", "image": f"{name}.png", "text": text, "kind": "a", "part": part}
        for name, text in (("white", "…!"), ("blue", "☺"))
        for part in ("train", "test")
    ]
    assert preprocess(folder, given, tmp_path / "out", GIVEN) == 0
    near = about(tmp_path / "out")["near"]
    assert [near[field]["compared"] for field in ("image", "text")] == [12, 12]
    assert not any(count for field in near.values() for one in field["near"].values() for count in one.values())
    assert not any(field["groups"] for field in near.values())
    assert "near-equal" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_rerun_and_other_parts_give_the_same_figures(rows, tmp_path, monkeypatch):
    folder, made = rows
    output = tmp_path / "out"
    given = with_parts(made, drawn="test")
    assert preprocess(folder, given, output, GIVEN) == 0
    near, before = about(output)["near"], snapshot(output, "examples", "parts", "hashes")
    assert preprocess(folder, given, output, GIVEN) == 0
    assert about(output)["skipped"] == len(given)
    assert (about(output)["near"], snapshot(output, "examples", "parts", "hashes")) == (near, before)
    monkeypatch.setattr("mmstream.outputs.parts.RECORDS_PER_PART", 5)
    assert preprocess(folder, given[::-1], tmp_path / "parted", GIVEN) == 0
    assert len(list((tmp_path / "parted" / "parts").glob("part-*"))) == 8
    assert about(tmp_path / "parted")["near"] == near


@pytest.mark.parametrize(
    "harm",
    [
        "none were kept",
        pytest.param("they were edited", marks=pytest.mark.slow),
        pytest.param("they belong to other records", marks=pytest.mark.slow),
        "an earlier version made them",
    ],
)
def test_hashes_that_do_not_fit_are_made_again_and_the_examples_are_kept(rows, tmp_path, monkeypatch, harm):
    folder, made = rows
    output = tmp_path / "out"
    given = with_parts(made, drawn="test")
    assert preprocess(folder, given, output, GIVEN) == 0
    near, before = about(output)["near"], snapshot(output, "examples", "parts", "hashes")
    (path,) = (output / "hashes").iterdir()
    if harm == "none were kept":
        path.unlink()
    elif harm == "they were edited":
        path.write_text(path.read_text().replace('"image": "', '"image": "AAAA', 1))
    elif harm == "an earlier version made them":
        with monkeypatch.context() as patch:
            patch.setattr(TextHash, "version", 0)
            assert preprocess(folder, given, output, GIVEN) == 0
        assert snapshot(output, "examples", "parts", "hashes") != before
    else:
        path.write_text(path.read_text().replace(json.loads(path.read_text().splitlines()[0])["inputs"], "0" * 32))
    assert preprocess(folder, given, output, GIVEN) == 0
    assert about(output)["skipped"] == len(given)
    assert (about(output)["near"], snapshot(output, "examples", "parts", "hashes")) == (near, before)


@pytest.mark.slow
def test_near_equal_records_stay_together_where_the_smallest_id_belongs(rows, tmp_path, capsys):
    folder, made = rows
    shares = "validation: 0.3, test: 0.3"
    assert preprocess(folder, made, tmp_path / "apart", f"{{{shares}}}") == 0
    assert "`split: {near: true}` keeps near-equal records in one split" in capsys.readouterr().err
    assert preprocess(folder, made, tmp_path / "together", f"{{{shares}, near: true}}") == 0
    apart, together = splits_of(tmp_path / "apart"), splits_of(tmp_path / "together")
    assert {name: together[name] for name in DRAWN} == {name: apart[name] for name in DRAWN}
    for copied in ("_drawn", "_written"):
        assert {name: together[name + copied] for name in DRAWN} == {name: apart[name] for name in DRAWN}
        assert any(apart[name + copied] != apart[name] for name in DRAWN)
    said = about(tmp_path / "together")
    assert not any(count for field in said["near"].values() for one in field["near"].values() for count in one.values())
    assert said["kept_together"][0]["records"] == 3
    assert said["made_with"]["split"]["near"] is True
    assert run("audit", tmp_path / "together", "--input", folder / "together.jsonl") == 0
    (tmp_path / "together" / "near.json").unlink()
    assert run("audit", tmp_path / "together", "--input", folder / "together.jsonl") == 1
    assert "which says which records stay together, is missing" in capsys.readouterr().err


@pytest.mark.slow
def test_only_the_named_fields_keep_records_together(rows, tmp_path, capsys):
    folder, made = rows
    assert preprocess(folder, made, tmp_path / "out", "{validation: 0.3, test: 0.3, near: [text]}") == 0
    found = splits_of(tmp_path / "out")
    assert all(found[f"{name}_written"] == found[name] for name in DRAWN)
    assert any(found[f"{name}_drawn"] != found[name] for name in DRAWN)
    said = capsys.readouterr().err
    assert "near equal image     none" not in said
    assert "warning: fields.image" not in said, "it was left out on purpose"


@pytest.mark.slow
def test_groups_and_near_equal_records_stay_together(rows, tmp_path):
    folder, made = rows
    grouped = [{**row, "owner": f"owner {number % 6}"} for number, row in enumerate(made[::3])]
    grouped += [row for row in made if row["id"].endswith("_drawn")]
    assert preprocess(folder, grouped, tmp_path / "out", "{validation: 0.1, test: 0.1, group: owner, near: true}") == 0
    found = splits_of(tmp_path / "out")
    for number in range(6):
        members = [found[name + copied] for name in DRAWN[number::6] for copied in ("", "_drawn")]
        assert len(set(members)) == 1
    assert len(set(found.values())) > 1


@pytest.mark.slow
def test_new_records_join_a_group_or_lead_it(rows, tmp_path):
    folder, made = rows
    split, output = "{validation: 0.3, test: 0.3, near: true}", tmp_path / "out"
    assert preprocess(folder, made[::3], output, split) == 0
    before = splits_of(output)
    assert preprocess(folder, [*made[::3], *made[1::3]], output, split) == 0
    assert splits_of(output) == {**before, **{f"{name}_drawn": before[name] for name in DRAWN}}
    first = [{**row, "id": f"a {row['id']}"} for row in made[1::3]]
    assert preprocess(folder, [*made[::3], *first], output, split) == 0
    after = splits_of(output)
    assert all(after[name] == after[f"a {name}_drawn"] for name in DRAWN)
    assert any(after[name] != before[name] for name in DRAWN)


@pytest.mark.slow
def test_one_large_group_is_warned_of(rows, tmp_path, capsys):
    folder, made = rows
    shared = [{**row, "text": "a label that all share"} for row in made[::3]]
    assert preprocess(folder, shared, tmp_path / "out", "{validation: 0.1, test: 0.1, near: true}") == 0
    said = capsys.readouterr().err
    assert "warning: split.near: 12 of 12 records (100.0%) are linked by near-equal values" in said


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("{column: part, near: true}", "`near` cannot be combined with `column`, which sets the splits"),
        ("{by_file: true, near: true}", "`near` cannot be combined with `by_file`, which sets the splits"),
        ("{near: [picture]}", "split.near[0]: there is no field 'picture'"),
        ("{near: [image, kind]}", "split.near[1]: fields of type 'category' are not compared"),
    ],
)
def test_what_cannot_be_kept_together_is_refused(rows, tmp_path, capsys, split, message):
    folder, made = rows
    assert preprocess(folder, made, tmp_path / "out", split) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
