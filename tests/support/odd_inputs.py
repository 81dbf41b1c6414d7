"""Folders and tables as people keep them, small, to try `mmstream init` on."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WORDS = ["red", "warm", "long", "coat", "hat", "for", "winter", "sun", "rain", "night"]
KINDS = ("cat", "dog", "new york")

Maker = Callable[[Path], Path]
MAKERS: dict[str, Maker] = {}


def odd(make: Maker) -> Maker:
    """Register what makes an input in an empty folder and returns its path."""
    MAKERS[make.__name__] = make
    return make


def picture(number: int, kind: int = 0, size: tuple[int, int] = (36, 36)) -> bytes:
    """A PNG; pictures of a kind look alike."""
    noise = np.random.default_rng(number).integers(0, 80, (size[1], size[0], 3))
    noise[..., kind % 3] += 150
    out = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def put(path: Path, data: bytes) -> None:
    """A file, and the folders on the way to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def table(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]], **dialect: Any) -> Path:
    """A CSV file."""
    out = io.StringIO()
    csv.writer(out, **dialect).writerows([names, *rows])
    put(path, out.getvalue().encode())
    return path


def pictures(folder: Path, names: Iterable[str]) -> None:
    """Pictures of kinds in turn."""
    for number, name in enumerate(names):
        put(folder / name, picture(number, number))


def text(number: int) -> str:
    """A few words."""
    return " ".join(random.Random(number).sample(WORDS, 4))


@odd
def split_folders(folder: Path) -> Path:
    counts = (("Training", 30), ("Valid", 9), ("testing", 9))
    pictures(folder, [f"{split}/{KINDS[n % 3]}/{n}.png" for split, count in counts for n in range(count)])
    return folder


@odd
def split_column_in_other_spelling(folder: Path) -> Path:
    splits = ("TRAIN", "train", "Val", "eval")
    rows = [(text(n), KINDS[n % 3], splits[n % 4]) for n in range(60)]
    return table(folder / "rows.csv", ["text", "label", "usage"], rows)


@odd
def folds(folder: Path) -> Path:
    return table(folder / "rows.csv", ["text", "fold", "label"], [(text(n), n % 5, KINDS[n % 3]) for n in range(60)])


@odd
def nested_classes(folder: Path) -> Path:
    names = [("Fruit/Apple/Red", "Fruit/Apple/Green", "Packages/Milk/Oat")[n % 3] for n in range(45)]
    pictures(folder, [f"{name}/{n}.png" for n, name in enumerate(names)])
    return folder


@odd
def hive_folders(folder: Path) -> Path:
    for year in (2019, 2020):
        rows = [(text(n), KINDS[n % 3]) for n in range(30)]
        table(folder / f"year={year}" / "part-0.csv", ["text", "label"], rows)
    return folder


@odd
def ids_of_pictures_in_a_subfolder(folder: Path) -> Path:
    ids = [f"{random.Random(n).getrandbits(40):010x}" for n in range(48)]
    pictures(folder / "train_images", [f"{key}.png" for key in ids])
    return table(folder / "train.csv", ["id_code", "diagnosis"], [(key, n % 3) for n, key in enumerate(ids)])


@odd
def names_of_pictures_deep_in_a_folder(folder: Path) -> Path:
    names = [f"{KINDS[n % 2]}/{n}.png" for n in range(48)]
    pictures(folder / "archive" / "images", names)
    rows = [(n, name, "yes" if n % 2 else "no") for n, name in enumerate(names)]
    return table(folder / "train.csv", ["", "Filename", "Is good?"], rows)


@odd
def numbered_pictures(folder: Path) -> Path:
    pictures(folder / "img", [f"{n}.png" for n in range(48)])
    (folder / "rows.jsonl").write_text("".join(json.dumps({"id": n, "class": n % 3}) + "\n" for n in range(48)))
    return folder


@odd
def tags_as_python(folder: Path) -> Path:
    rows = [(text(n), str([KINDS[n % 3], KINDS[n % 2]])) for n in range(60)]
    return table(folder / "rows.csv", ["text", "tags"], rows)


@odd
def tags_as_json(folder: Path) -> Path:
    rows = [(text(n), json.dumps([KINDS[n % 3], "é"] if n % 5 else [])) for n in range(60)]
    return table(folder / "rows.csv", ["text", "keywords"], rows)


@odd
def tags_with_bars(folder: Path) -> Path:
    return table(folder / "rows.csv", ["text", "genres"], [(text(n), "|".join(KINDS[: n % 3 + 1])) for n in range(60)])


@odd
def tags_with_semicolons(folder: Path) -> Path:
    return table(
        folder / "rows.tsv", ["text", "tags"], [(text(n), "; ".join(KINDS[n % 2 :])) for n in range(60)], delimiter="\t"
    )


@odd
def codes_of_classes(folder: Path) -> Path:
    rows = [{"text": text(n), "label": n % 12 if n else 12} for n in range(60)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


@odd
def many_codes_of_classes(folder: Path) -> Path:
    return table(folder / "rows.csv", ["text", "class_id"], [(text(n), n % 40) for n in range(400)])


@odd
def missing_markers(folder: Path) -> Path:
    chosen = random.Random(1)
    rows = []
    for n in range(80):
        price = ("NA", "NULL", "-")[n % 3] if n % 7 == 0 else f"{chosen.random() * 90:.2f}"
        rows.append((text(n) if n % 9 else "N/A", chosen.choice(["red", "blue", "None"]), price, KINDS[n % 3]))
    return table(folder / "rows.csv", ["title", "colour", "weight", "label"], rows)


@odd
def reserved_names(folder: Path) -> Path:
    names = ["ID", "_x", "match_score", "fused", "val_a", "embedding_b", "größe", "2nd", "类别", "id_", "label"]
    chosen = random.Random(1)
    rows = [(n + 7, *(f"{chosen.gauss(0, 1):.3f}" for _ in names[2:]), KINDS[n % 3]) for n in range(60)]
    return table(folder / "rows.csv", names, rows)


@odd
def reserved_names_of_targets(folder: Path) -> Path:
    names = ["text", "val_label", "embedding_target", "my_match"]
    return table(folder / "rows.csv", names, [(text(n), n % 2, n % 3, "ab"[n // 3 % 2]) for n in range(60)])


@odd
def ids_and_row_numbers(folder: Path) -> Path:
    chosen = random.Random(1)
    rows = [
        (n, chosen.randrange(10**6), f"u{chosen.randrange(10**6)}", n + 1, f"{chosen.random():.4f}", KINDS[n % 3])
        for n in range(60)
    ]
    return table(folder / "rows.csv", ["Unnamed: 0", "PassengerId", "user_id", "number", "size", "label"], rows)


@odd
def a_column_that_says_the_target_again(folder: Path) -> Path:
    rows = [(text(n), n % 3, KINDS[n % 3].upper()) for n in range(60)]
    return table(folder / "rows.csv", ["text", "label", "meaning"], rows)


@odd
def exported_by_a_spreadsheet(folder: Path) -> Path:
    lines = "".join(f"{n};{text(n)};{KINDS[n % 3]};;\r\n" for n in range(60))
    put(folder / "rows.csv", f"sep=;\r\nid; text; label;;\r\n{lines}".encode("utf-16"))
    return folder / "rows.csv"


@odd
def windows_letters(folder: Path) -> Path:
    lines = "".join(f"{text(n)} café,{KINDS[n % 3]}\r\n" for n in range(60))
    put(folder / "rows.csv", f"text,label\r\n{lines}".encode("cp1252"))
    return folder / "rows.csv"


@odd
def decimal_commas(folder: Path) -> Path:
    chosen = random.Random(1)
    rows = [(f"{chosen.random() * 9:.1f}", f"{chosen.gauss(5, 1):.2f}", n % 3 + 5) for n in range(90)]
    lines = [("fixed acidity", "pH", "quality"), *((a.replace(".", ","), b.replace(".", ","), c) for a, b, c in rows)]
    return table(folder / "wine.csv", lines[0], lines[1:], delimiter=";")


@odd
def a_target_with_decimal_commas(folder: Path) -> Path:
    chosen = random.Random(1)
    rows = [(f"1.{chosen.randrange(100, 999)},{n % 90 + 10}", f"{n % 7},{n + 100}", n % 40 + 50) for n in range(90)]
    return table(folder / "flats.csv", ["price", "weight", "rooms"], rows, delimiter=";")


@odd
def codes_with_zeros_in_front(folder: Path) -> Path:
    rows = [(text(n), f"{n % 12 + 1001:05}", KINDS[n % 3]) for n in range(60)]
    return table(folder / "rows.csv", ["text", "zip", "label"], rows)


@odd
def tags_as_sets(folder: Path) -> Path:
    sets = ("{'sea', 'city night'}", "{'sun'}", "set()", "{'sea', 'sun'}")
    return table(folder / "rows.csv", ["text", "tags"], [(text(n), sets[n % 4]) for n in range(60)])


@odd
def chinese_letters(folder: Path) -> Path:
    kinds = ("好评", "差评", "一般")
    lines = "".join(f"质量不错第{n * 37}次购买推荐给大家{n},{kinds[n % 3]}\n" for n in range(60))
    put(folder / "rows.csv", f"标题,类别\n{lines}".encode("gbk"))
    return folder / "rows.csv"


@odd
def one_broken_row(folder: Path) -> Path:
    lines = [f"{text(n)} négatif,{KINDS[n % 3]}\r\n".encode("cp1252" if n == 7 else "utf-8") for n in range(60)]
    put(folder / "rows.csv", b"text,label\r\n" + b"".join(lines))
    return folder / "rows.csv"


@odd
def saved_twice_by_pandas(folder: Path) -> Path:
    rows = [(n, n, text(n), KINDS[n % 3]) for n in range(60)]
    return table(folder / "rows.csv", ["", "Unnamed: 0", "text", "label"], rows)


@odd
def some_pictures_are_missing(folder: Path) -> Path:
    pictures(folder / "p", [f"{n}.png" for n in range(48) if n % 8])
    return table(folder / "rows.csv", ["image", "label"], [(f"p/{n}.png", KINDS[n % 3]) for n in range(48)])


@odd
def line_ends_in_names(folder: Path) -> Path:
    names = ["first\nname", "a: b # c", 'say "it"']
    return table(folder / "rows.csv", names, [(text(n), n % 2, KINDS[n % 3]) for n in range(60)])


@odd
def pictures_beside_masks(folder: Path) -> Path:
    pictures(folder / "images", [f"{n}.png" for n in range(40)])
    pictures(folder / "masks", [f"{n}.png" for n in range(40)])
    return table(folder / "train.csv", ["id", "label"], [(n, KINDS[n % 3]) for n in range(40)])


@odd
def paths_from_the_root_of_the_data(folder: Path) -> Path:
    pictures(folder / "img", [f"{n}.png" for n in range(40)])
    return table(
        folder / "rows.csv", ["Image Path (str)", "kind"], [(f"/img/{n}.png", KINDS[n % 3]) for n in range(40)]
    )


@odd
def without_names(folder: Path) -> Path:
    put(folder / "rows.csv", "".join(f"{KINDS[n % 2]};{text(n)}\n" for n in range(60)).encode())
    return folder / "rows.csv"


@odd
def several_captions_of_a_picture(folder: Path) -> Path:
    pictures(folder / "p", [f"{n}.png" for n in range(30)])
    rows = [(f"p/{n // 2}.png", n % 2, f"{text(n)} {n}") for n in range(60)]
    return table(folder / "rows.csv", ["image", "comment_number", "comment"], rows, delimiter="|")


@odd
def one_value_or_none(folder: Path) -> Path:
    rows = [(text(n), ("NA", "Attached")[n % 2], KINDS[n % 3]) for n in range(60)]
    return table(folder / "rows.csv", ["text", "garage", "label"], rows)


@odd
def a_table_in_the_folder_of_each_split(folder: Path) -> Path:
    for split, count in (("train", 36), ("test", 12)):
        pictures(folder / split, [f"{n:04}.png" for n in range(count)])
        rows = [{"file_name": f"{n:04}.png", "text": f"{split} {text(n)} {n}"} for n in range(count)]
        put(folder / split / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    return folder


@odd
def a_pattern_of_tables_beside_their_pictures(folder: Path) -> Path:
    for part in ("north", "south"):
        pictures(folder / part / "img", [f"{n}.png" for n in range(24)])
        table(folder / part / "list.csv", ["picture_id", "label"], [(n, KINDS[n % 3]) for n in range(24)])
    return folder / "*" / "list.csv"


@odd
def split_folders_twice(folder: Path) -> Path:
    counts = {"seg_train": 30, "seg_test": 9}
    pictures(folder, [f"{split}/{split}/{KINDS[n % 3]}/{n}.png" for split in counts for n in range(counts[split])])
    pictures(folder / "seg_pred" / "seg_pred", [f"{n}.png" for n in range(9)])
    return folder


@odd
def numbered_split_folders(folder: Path) -> Path:
    counts = {"01_train": 30, "02_valid": 9, "03_test": 9, "notes": 3}
    pictures(folder, [f"{split}/{KINDS[n % 3]}/{n}.png" for split in counts for n in range(counts[split])])
    return folder


@odd
def public_and_private_test(folder: Path) -> Path:
    splits = ("Training", "PublicTest", "PrivateTest", "Training")
    rows = [(n % 3, text(n), splits[n // 3 % 4]) for n in range(60)]
    return table(folder / "rows.csv", ["emotion", "text", "Usage"], rows)


@odd
def a_table_for_each_split(folder: Path) -> Path:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation", "test"):
        table(folder / f"{name}.csv", ["text", "label"], [(text(n), KINDS[n % 3]) for n in range(20)])
    return folder


@odd
def a_class_is_called_like_a_split(folder: Path) -> Path:
    pictures(folder, [f"{('train', 'bus', 'test tube')[n % 3]}/{n}.png" for n in range(48)])
    return folder


@odd
def pictures_as_data_uris(folder: Path) -> Path:
    inline = [f"data:image/png;base64,{base64.b64encode(picture(n, n)).decode()}" for n in range(40)]
    return table(folder / "rows.csv", ["image", "label"], [(one, KINDS[n % 3]) for n, one in enumerate(inline)])


@odd
def pictures_in_base64(folder: Path) -> Path:
    inline = [base64.b64encode(picture(n, n)).decode() for n in range(40)]
    return table(folder / "rows.csv", ["image", "label"], [(one, KINDS[n % 3]) for n, one in enumerate(inline)])


@odd
def pictures_as_bytes_and_path(folder: Path) -> Path:
    inline = [{"bytes": base64.b64encode(picture(n, n)).decode(), "path": None} for n in range(40)]
    rows = [{"image": one, "label": KINDS[n % 3]} for n, one in enumerate(inline)]
    put(folder / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    return folder / "rows.jsonl"


@odd
def classes_within_years(folder: Path) -> Path:
    pictures(folder, [f"{2020 + n % 4}/{KINDS[n % 3]}/{n}.png" for n in range(48)])
    return folder


@odd
def classes_called_by_digits(folder: Path) -> Path:
    pictures(folder, [f"{1 + n % 9}/{n}.png" for n in range(54)])
    return folder


@odd
def the_target_in_another_unit(folder: Path) -> Path:
    chosen = random.Random(1)
    rows = []
    for _ in range(60):
        area, price = chosen.randrange(30, 200), chosen.randrange(10**5, 10**6)
        rows.append((area, f"{price * 1.1:.2f}", f"{price}.0", f"{price / 1e6:.4f}", price))
    return table(folder / "rows.csv", ["area", "price_usd", "again", "millions", "price"], rows)
