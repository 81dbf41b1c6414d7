"""`mmstream init` writes configs that are sound, and says why it guessed so."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import tarfile

import numpy as np
import pytest
from PIL import Image
from small_road import emoji_rows, run

from mmstream.config.loading import load_config
from mmstream.errors import MmstreamError
from mmstream.starting_config import starting_config


def picture(size=(70, 50), seed=0) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def guessed(tmp_path, name):
    """The config for some data, read back, and its text."""
    text = starting_config(str(tmp_path / name), str(tmp_path)).text
    (tmp_path / "guessed.yaml").write_text(text)
    return load_config(str(tmp_path / "guessed.yaml")), text


def uses(parts):
    return {name: part.use for name, part in parts.items()}


def test_folders_of_pictures_are_classes(tmp_path):
    for number in range(40):
        put(tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png", picture())
    config, text = guessed(tmp_path, "photos")
    assert config.source.use == "image_folder"
    augment = [{"crop": 0.2}, {"rotate": 10}, {"brightness": 0.2}]
    assert config.fields["image"].parameters == {"size": [48, 48], "augment": augment}, "there are few of them"
    assert uses(config.model.encoders) == {"image": "cnn"}
    assert uses(config.model.heads) == {"category": "classification"}
    assert "pictures of about 70 x 50" in text
    assert "2 different values in 40 rows" in text


def test_a_table_of_paths_texts_and_numbers(tmp_path):
    chosen = random.Random(1)
    with (tmp_path / "shop.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", "photo", "title", "colour", "price", "note"])
        for number in range(60):
            put(tmp_path / "img" / f"{number}.png", picture())
            words = " ".join(chosen.sample(["red", "warm", "long", "coat", "hat", "for", "winter", "sun"], 4))
            price = "NA" if number % 10 == 0 else f"{chosen.random() * 90:.2f}"
            row = [f"a{number}", f"img/{number}.png", words, chosen.choice("rgb"), price, f"x{number}"]
            writer.writerow(row)
    config, text = guessed(tmp_path, "shop.csv")
    assert (config.source.use, config.source.id) == ("csv", "sku")
    assert uses(config.fields) == {"photo": "image", "title": "text", "colour": "category", "price": "number"}
    assert config.fields["price"].parameters == {"missing": ["NA"]}
    assert uses(config.model.heads) == {"price": "regression"}
    assert set(config.model.encoders) == {"photo", "title", "colour"}
    assert config.model.fusion is not None
    assert "note is not read: no field fits its 60 different values in 60 rows" in text
    assert "# numbers from " in text


def test_several_columns_of_a_kind_are_one_field(tmp_path):
    chosen = random.Random(1)
    with (tmp_path / "plants.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "species"])
        for _ in range(100):
            writer.writerow([*(f"{chosen.gauss(0, 1):.3f}" for _ in range(3)), chosen.choice(["one", "two"])])
    config, _ = guessed(tmp_path, "plants.csv")
    assert uses(config.fields) == {"number_columns": "number", "species": "category"}
    assert config.fields["number_columns"].reads == ("a", "b", "c")
    assert uses(config.model.heads) == {"species": "classification"}


def test_questions_about_pictures_keep_those_of_one_picture_together(tmp_path):
    rows = []
    for number in range(90):
        put(tmp_path / "images" / f"{number // 3}.png", picture())
        question = ("what is the red shape?", "is there a circle here?", "which colour has it?")[number % 3]
        rows.append({"image": f"images/{number // 3}.png", "question": question, "answer": ("yes", "no")[number % 2]})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config, _ = guessed(tmp_path, "rows.jsonl")
    assert config.split.group == "image"
    assert uses(config.model.heads) == {"answer": "classification"}
    assert "question" in config.fields


def test_an_archive_whose_pictures_have_texts_alone_is_captioned(tmp_path):
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for number, row in enumerate(emoji_rows(50)):
            for suffix, data in (("png", picture(seed=number)), ("txt", row["text"].encode())):
                about = tarfile.TarInfo(f"{number:04d}.{suffix}")
                about.size = len(data)
                archive.addfile(about, io.BytesIO(data))
    config, _ = guessed(tmp_path, "shard.tar")
    assert (config.source.use, config.source.id) == ("webdataset", "__key__")
    assert uses(config.model.heads) == {"text": "caption"}
    assert config.reads(config.model.heads["text"]) == ("image",)


def test_given_splits_and_tags_are_seen(tmp_path):
    names = ("train", "train", "validation", "test")
    rows = [
        {"id": number, "text": row["text"], "keywords": row["keywords"], "split": names[number % 4]}
        for number, row in enumerate(emoji_rows(400))
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config, _ = guessed(tmp_path, "rows.jsonl")
    assert config.split.column == "split"
    assert uses(config.fields) == {"text": "text", "keywords": "tags"}
    assert uses(config.model.heads) == {"keywords": "tagging"}


def test_where_nothing_is_a_target_it_says_what_to_do_and_what_there_is(tmp_path, capsys):
    for number in range(20):
        put(tmp_path / "photos" / f"{number}.png", picture())
    assert run("init", tmp_path / "photos", "--output", tmp_path / "a.yaml") == 1
    told = capsys.readouterr().err
    assert "looks like a target; name one with --target COLUMN, add one, or add a folder for each class" in told
    assert "read: image (pictures of about 70 x 50)" in told
    assert not (tmp_path / "a.yaml").exists()


def test_where_there_is_a_target_alone_it_says_so(tmp_path, capsys):
    write_rows(tmp_path / "rows.jsonl", [{"label": "ab"[n % 2], "note": f"n{n}"} for n in range(40)])
    assert run("init", tmp_path / "rows.jsonl", "--output", tmp_path / "a.yaml", "--target", "label") == 1
    told = capsys.readouterr().err
    assert "looks like an input; add one" in told
    assert "not read: note (no field fits its 40 different values in 40 rows)" in told


def write_rows(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def shop(tmp_path, count=60):
    """Texts, two columns of few values, and a number."""
    chosen = random.Random(1)
    words = ["red", "warm", "long", "coat", "hat", "winter", "sun"]
    rows = [
        {
            "title": " ".join(chosen.sample(words, 4)),
            "size": "sml"[n % 3],
            "shop": "xy"[n % 2],
            "price": chosen.random(),
        }
        for n in range(count)
    ]
    return write_rows(tmp_path / "shop.jsonl", rows)


def test_targets_are_those_that_are_asked_for(tmp_path):
    assert run("init", shop(tmp_path), "--output", tmp_path / "a.yaml", "--target", "size", "--target", "shop") == 0
    config = load_config(str(tmp_path / "a.yaml"))
    assert uses(config.model.heads) == {"size": "classification", "shop": "classification"}
    assert set(config.model.encoders) == {"title", "price"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("sizes", "--target: the data has no column 'sizes'. Did you mean 'size'? Available: image,"),
        ("note", "--target note: no field fits its 60 different values in 60 rows"),
        (
            "image",
            "--target image: this column is read by a field of type 'image', and that type of field cannot be "
            "predicted",
        ),
    ],
)
def test_a_target_that_cannot_be_one_is_refused(tmp_path, capsys, target, message):
    put(tmp_path / "1.png", picture())
    rows = [{**json.loads(line), "note": f"n{n}"} for n, line in enumerate(shop(tmp_path).read_text().splitlines())]
    write_rows(tmp_path / "shop.jsonl", [{**row, "image": "1.png"} for row in rows])
    assert run("init", tmp_path / "shop.jsonl", "--output", tmp_path / "a.yaml", "--target", target) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.yaml").exists()


def test_markers_of_missing_values_are_named_by_each_field(tmp_path):
    rows = [
        {**json.loads(line), "size": ("s", "m", " NULL")[n % 3], "title": "-"} if n % 4 == 0 else json.loads(line)
        for n, line in enumerate(shop(tmp_path).read_text().splitlines())
    ]
    write_rows(tmp_path / "shop.jsonl", rows)
    config, _ = guessed(tmp_path, "shop.jsonl")
    assert config.fields["size"].parameters == {"missing": ["NULL"]}
    assert config.fields["title"].parameters == {"length": 8, "missing": ["-"], "ngrams": 20000}


def test_what_is_left_out_is_said_with_the_reason(tmp_path, capsys):
    rows = [
        {
            **json.loads(line),
            "row": n,
            "zip_code": 10_000 + n * n % 9_999,
            "user_id": f"u{n * 7}",
            "same": 1,
            "image": f"{n}.png",
            "is_valid": n % 4 == 0,
        }
        for n, line in enumerate(shop(tmp_path).read_text().splitlines())
    ]
    for n in range(0, 60, 5):
        put(tmp_path / f"{n}.png", b"no picture" if n % 10 else picture())
    write_rows(tmp_path / "shop.jsonl", rows)
    assert run("init", tmp_path / "shop.jsonl", "--output", tmp_path / "a.yaml") == 0
    told = capsys.readouterr().err
    assert "note: row is not read: it numbers the rows" in told
    assert "note: zip_code is not read: its name says that it is a code, so its numbers are not quantities" in told
    assert "note: same is not read: it has the same value in all rows" in told
    assert "note: is_valid is not read: it divides the rows, but not into train, validation and test" in told
    assert re.search(
        r"note: image is not read: \d+ of \d+ values cannot be read: it names pictures that do not exist", told
    )
    assert load_config(str(tmp_path / "a.yaml")).source.id == "user_id"


def test_what_keeps_a_column_from_being_read_is_said(tmp_path, capsys):
    rows = [
        {
            "sales": f"{n + 10},{n + 500}",
            "growth": f"{n - 9}%",
            "amount": f"{n},50 €",
            "area": ("inf", "-inf", "NA")[n % 3] if n < 4 else n * 1.5,
            "size": n / 7,
            "label": "ab"[n % 2],
        }
        for n in range(60)
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert run("init", tmp_path / "rows.jsonl", "--output", tmp_path / "a.yaml") == 0
    told = capsys.readouterr().err
    assert "note: sales is not read: numbers with commas, such as '10,500', which may separate thousands or" in told
    assert "note: growth is not read: numbers with percent signs, such as '-9%': write only the numbers, so" in told
    assert "note: amount is not read: numbers with currency signs, such as '0,50 €'" in told
    assert "note: area is not read: numbers, except for 3 of 59 values: 'inf' (2), '-inf' (1)" in told
    assert set(load_config(str(tmp_path / "a.yaml")).fields) == {"size", "label"}


def test_one_row_is_too_few_and_says_so_in_the_singular(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"text": "hello there", "label": "good"}])
    with pytest.raises(MmstreamError, match="no field fits its only value"):
        starting_config(str(tmp_path / "rows.jsonl"), str(tmp_path))


@pytest.mark.parametrize(
    ("columns", "target", "why"),
    [
        (("kind", "text"), "kind", "no other column can be predicted"),
        (("text", "shop", "kind"), "kind", "the last column is usually the target of a table"),
        (("shop", "kind", "text"), "kind", "the last column that can be predicted is usually the target of a table"),
    ],
)
def test_a_guessed_target_is_explained_by_where_it_stands(tmp_path, columns, target, why):
    words = ["red", "warm", "long", "coat", "hat", "winter", "sun"]
    texts = [" ".join(random.Random(n).sample(words, 4)) for n in range(60)]
    values = [{"text": texts[n], "shop": "xyz"[n % 3], "kind": "ab"[n % 2]} for n in range(60)]
    write_rows(tmp_path / "rows.jsonl", [{name: row[name] for name in columns} for row in values])
    config, text = guessed(tmp_path, "rows.jsonl")
    assert (set(config.model.heads), why in text) == ({target}, True)


def test_pictures_of_which_some_cannot_be_read_are_used_and_counted(tmp_path, capsys):
    for n in range(40):
        put(tmp_path / "in" / "ab"[n % 2] / f"{n}.png", picture(seed=n) if n % 8 else b"no picture")
    assert run("init", tmp_path / "in", "--output", tmp_path / "a.yaml") == 0
    assert "rows tried would be dead letters (no picture of a format that is read begins" in capsys.readouterr().err


def test_files_of_different_columns_are_named(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name, columns in (("train", "text,label"), ("test", "text")):
        rows = "".join(f"some words of {n}" + f",{'ab'[n % 2]}" * (name == "train") + "\n" for n in range(40))
        (tmp_path / "in" / f"{name}.csv").write_text(f"{columns}\n{rows}")
    assert run("init", tmp_path / "in", "--output", tmp_path / "a.yaml") == 0
    told = capsys.readouterr().err
    assert (
        "different columns; if they are not one table, name one of them: test.csv (text), train.csv (label, t" in told
    )


def test_data_without_rows_are_an_error(tmp_path):
    (tmp_path / "rows.jsonl").write_text("no json\n")
    with pytest.raises(MmstreamError, match="has no row that can be read"):
        starting_config(str(tmp_path / "rows.jsonl"), str(tmp_path))


def test_a_config_that_is_there_stays(tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "config.yaml").write_text("mine")
    assert run("init", tmp_path / "rows.jsonl", "--output", tmp_path / "config.yaml") == 1
    assert "already exists" in capsys.readouterr().err
    assert (tmp_path / "config.yaml").read_text() == "mine"


def texts_and(labels) -> list[dict]:
    words = ["red", "blue", "green", "old", "new", "small", "large", "round", "flat", "soft", "hard", "warm", "cold"]
    return [
        {"id": f"a{n}", "text": " ".join(words[(n * 7 + k) % 13] for k in range(5)), "label": label}
        for n, label in enumerate(labels)
    ]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([None] * 60, "the column 'label' has no value in any of 60 rows"),
        (["yes"] * 60, "it has the same value in all 60 rows that have one, so there is nothing to predict"),
    ],
)
def test_a_target_that_says_nothing_is_refused(tmp_path, labels, message):
    write_rows(tmp_path / "rows.jsonl", texts_and(labels))
    with pytest.raises(MmstreamError, match=re.escape(message)):
        starting_config(str(tmp_path / "rows.jsonl"), str(tmp_path), ["label"])


def test_rare_classes_are_weighted_and_single_ones_are_mentioned(tmp_path):
    write_rows(tmp_path / "rows.jsonl", texts_and(["often"] * 197 + ["seldom", "seldom", "once"]))
    text = starting_config(str(tmp_path / "rows.jsonl"), str(tmp_path), ["label"]).text
    assert "balance: class_weights" in text
    assert "1 of 3 classes occur only once, and cannot be both learnt and measured" in text
    write_rows(tmp_path / "even.jsonl", texts_and(["one", "other"] * 100))
    assert "balance" not in starting_config(str(tmp_path / "even.jsonl"), str(tmp_path), ["label"]).text


def test_the_network_is_chosen_by_what_it_reads(tmp_path):
    rows = [{**row, "title": f"{row['text']} and more {n}"} for n, row in enumerate(texts_and(["a", "b"] * 100))]
    write_rows(tmp_path / "rows.jsonl", rows)
    text = starting_config(str(tmp_path / "rows.jsonl"), str(tmp_path), ["label"]).text
    for chosen in ("{use: ngrams}", "wide: true", "fusion: {use: late}", "auxiliary: 0.3", "early_stopping"):
        assert chosen in text
