"""`mmstream init` writes configs that are sound, and says why it guessed so."""

from __future__ import annotations

import csv
import io
import json
import random
import tarfile

import numpy as np
import pytest
from PIL import Image
from small_road import emoji_rows, run

from mmstream.config_file import load_config
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
    text = starting_config(str(tmp_path / name), str(tmp_path))
    (tmp_path / "guessed.yaml").write_text(text)
    return load_config(str(tmp_path / "guessed.yaml")), text


def uses(parts):
    return {name: part.use for name, part in parts.items()}


def test_folders_of_pictures_are_classes(tmp_path):
    for number in range(40):
        put(tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png", picture())
    config, text = guessed(tmp_path, "photos")
    assert config.source.use == "image_folder"
    assert config.fields["image"].parameters == {"size": [48, 48]}
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
    assert "not read, since no field fits: note" in text


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


def test_where_nothing_is_a_target_the_config_says_what_to_write(tmp_path):
    for number in range(20):
        put(tmp_path / "photos" / f"{number}.png", picture())
    text = starting_config(str(tmp_path / "photos"), str(tmp_path))
    assert "heads: {}" in text
    assert "Nothing looks like a target" in text


def test_data_without_rows_are_an_error(tmp_path):
    (tmp_path / "rows.jsonl").write_text("no json\n")
    with pytest.raises(MmstreamError, match="has no row that can be read"):
        starting_config(str(tmp_path / "rows.jsonl"), str(tmp_path))


def test_a_config_that_is_there_stays(tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "config.yaml").write_text("mine")
    assert run("init", tmp_path / "rows.jsonl", "--output", tmp_path / "config.yaml") == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "config.yaml").read_text() == "mine"
