"""`mmstream init` on folders and tables as people keep them: `check` takes each config, and it says what it should."""

from __future__ import annotations

import json
import unicodedata

import pytest
from odd_inputs import KINDS, MAKERS, picture, pictures, put, table, text
from small_road import read_lines, read_rows, run

from mmstream.config.loading import load_config

# name -> the heads by field, the encoders, the id, the column of given splits (or that the files say them)
EXPECTED = {
    "split_folders": ({"category_2": "classification"}, {"image"}, None, "category"),
    "split_column_in_other_spelling": ({"label": "classification"}, {"text"}, None, "usage"),
    "folds": ({"label": "classification"}, {"text"}, None, None),
    "nested_classes": (
        dict.fromkeys(("category", "category_2", "category_3"), "classification"),
        {"image"},
        None,
        None,
    ),
    "hive_folders": ({"label": "classification"}, {"text", "year"}, None, None),
    "ids_of_pictures_in_a_subfolder": ({"diagnosis": "classification"}, {"id_code"}, "id_code", None),
    "names_of_pictures_deep_in_a_folder": ({"is_good": "classification"}, {"filename"}, "Filename", None),
    "numbered_pictures": ({"class": "classification"}, {"id_"}, "id", None),
    "tags_as_python": ({"tags": "tagging"}, {"text"}, None, None),
    "tags_as_json": ({"keywords": "tagging"}, {"text"}, None, None),
    "tags_with_bars": ({"genres": "tagging"}, {"text"}, None, None),
    "tags_with_semicolons": ({"tags": "tagging"}, {"text"}, None, None),
    "codes_of_classes": ({"label": "classification"}, {"text"}, None, None),
    "many_codes_of_classes": ({"class_id": "classification"}, {"text"}, None, None),
    "missing_markers": ({"label": "classification"}, {"title", "colour", "weight"}, None, None),
    "reserved_names": ({"label": "classification"}, {"number_columns"}, "ID", None),
    "reserved_names_of_targets": (
        dict.fromkeys(("column_val_label", "column_embedding_target"), "classification"),
        {"text", "my_match_"},
        None,
        None,
    ),
    "ids_and_row_numbers": ({"label": "classification"}, {"size"}, "PassengerId", None),
    "a_column_that_says_the_target_again": ({"label": "classification"}, {"text"}, None, None),
    "exported_by_a_spreadsheet": ({"label": "classification"}, {"text"}, "id", None),
    "windows_letters": ({"label": "classification"}, {"text"}, None, None),
    "decimal_commas": ({"quality": "classification"}, {"number_columns"}, None, None),
    "a_target_with_decimal_commas": ({"price": "regression"}, {"weight", "rooms"}, None, None),
    "codes_with_zeros_in_front": ({"label": "classification"}, {"text", "zip"}, None, None),
    "tags_as_sets": ({"tags": "tagging"}, {"text"}, None, None),
    "chinese_letters": ({"column_2": "classification"}, {"column"}, None, None),
    "one_broken_row": ({"label": "classification"}, {"text"}, None, None),
    "saved_twice_by_pandas": ({"label": "classification"}, {"text"}, None, None),
    "some_pictures_are_missing": ({"label": "classification"}, {"image"}, None, None),
    "line_ends_in_names": ({"say_it": "classification"}, {"first_name", "a_b_c"}, None, None),
    "paths_from_the_root_of_the_data": ({"kind": "classification"}, {"image_path_str"}, "Image Path (str)", None),
    "without_names": ({"column_1": "classification"}, {"column_2"}, None, None),
    "several_captions_of_a_picture": ({"comment": "caption"}, {"image"}, None, None),
    "one_value_or_none": ({"label": "classification"}, {"text", "garage"}, None, None),
    "pictures_beside_masks": ({"label": "classification"}, {"id_"}, "id", None),
    "pictures_as_data_uris": ({"label": "classification"}, {"image"}, None, None),
    "pictures_in_base64": ({"label": "classification"}, {"image"}, None, None),
    "pictures_as_bytes_and_path": ({"label": "classification"}, {"image"}, None, None),
    "classes_within_years": ({"category_2": "classification"}, {"image"}, None, None),
    "classes_called_by_digits": ({"category": "classification"}, {"image"}, None, None),
    "the_target_in_another_unit": ({"price": "regression"}, {"number_columns"}, None, None),
    "a_table_in_the_folder_of_each_split": ({"text": "caption"}, {"file_name"}, None, "by_file"),
    "a_pattern_of_tables_beside_their_pictures": ({"label": "classification"}, {"picture_id"}, None, None),
    "split_folders_twice": ({"category_3": "classification"}, {"image"}, None, "category"),
    "numbered_split_folders": ({"category_2": "classification"}, {"image"}, None, "category"),
    "public_and_private_test": ({"emotion": "classification"}, {"text"}, None, "Usage"),
    "a_table_for_each_split": ({"label": "classification"}, {"text"}, None, "by_file"),
    "a_class_is_called_like_a_split": ({"category": "classification"}, {"image"}, None, None),
}


@pytest.fixture
def made(tmp_path, request):
    """The path of an input, by its name in the test's parameter."""
    (tmp_path / "in").mkdir()
    return MAKERS[request.param](tmp_path / "in")


def test_every_input_has_an_expectation():
    assert set(EXPECTED) == set(MAKERS)


@pytest.mark.parametrize(("made", "expected"), EXPECTED.items(), ids=EXPECTED, indirect=["made"])
def test_a_config_is_sound_and_says_what_it_should(tmp_path, made, expected):
    path = tmp_path / "config.yaml"
    assert run("init", made, "--output", path) == 0
    assert run("check", path) == 0
    config = load_config(str(path))
    heads = {name: head.use for name, head in config.model.heads.items()}
    splits = "by_file" if config.split.by_file else config.split.column
    assert (heads, set(config.model.encoders), config.source.id, splits) == expected


@pytest.mark.parametrize("made", ["a_table_in_the_folder_of_each_split"], indirect=True)
def test_each_row_has_the_picture_beside_its_table_and_the_split_of_its_folder(tmp_path, made):
    for n in range(4):
        (made / "test" / f"{n:04}.png").write_bytes(b"no picture")
    config, examples = tmp_path / "config.yaml", tmp_path / "examples"
    assert run("init", made, "--output", config) == 0
    assert run("preprocess", config, "--output", examples) == 0
    job = json.loads((examples / "preprocess.json").read_text())
    assert job["splits"] == {"train": 36, "validation": 0, "test": 8}
    origins = {letter["origin"] for letter in read_lines(examples / "dead_letters")}
    assert origins == {f"test/metadata.jsonl:{line}" for line in range(1, 5)}
    assert run("audit", examples, "--input", made) == 0
    (made / "test" / "0011.png").write_bytes(picture(1))
    assert run("audit", examples, "--input", made) != 0


def named_otherwise(folder, names, column="image", files=None):
    """A table whose column names pictures, and some of its rows."""
    pictures(folder, files or [f"img/a b/{n}.png" for n in range(30)])
    rows = [(name, KINDS[n % 3]) for n, name in enumerate(names)]
    return table(folder / "rows.csv", [column, "label"], rows)


PATHS = {
    "backslashes": ([f"img\\a b\\{n}.png" for n in range(30)], r"write / instead of \ between folders"),
    "another_machine": (
        [f"/home/al/data/img/a b/{n}.png" for n in range(30)],
        "leave out '/home/al/data/' at the start",
    ),
    "windows": (
        [f"C:\\Al\\img\\a b\\{n}.png" for n in range(30)],
        r"write / instead of \ between folders; leave out 'C:\Al\' at the start",
    ),
    "another_folder": (
        [f"old/{n}.png" for n in range(30)],
        "write the folders as they are named below the input's folder",
    ),
    "small_letters": (
        [f"IMG/a b/{n}.png" for n in range(30)],
        "write capital and small letters as the file's name does",
    ),
    "urls": ([f"https://example.com/img/{n}.png?x=1" for n in range(30)], "which are not downloaded"),
    "gone": (
        [f"gone_{n}.jpg" for n in range(30)],
        "do not exist, such as 'gone_0.jpg'; the input's folder holds 30 others",
    ),
}


@pytest.mark.parametrize(("names", "told"), PATHS.values(), ids=PATHS)
def test_pictures_that_are_named_otherwise_are_no_texts_and_it_says_what_to_change(tmp_path, capsys, names, told):
    made = named_otherwise(tmp_path / "in", names)
    assert run("init", made, "--output", tmp_path / "a.yaml") == 1
    said = capsys.readouterr().err
    assert f"{made} cannot be read; image: " in said
    assert told in said
    assert not (tmp_path / "a.yaml").exists()


def test_accents_of_another_encoding_are_told(tmp_path, capsys):
    names = [unicodedata.normalize("NFC", f"Café/{n}.png") for n in range(30)]
    made = named_otherwise(tmp_path / "in", names, files=[unicodedata.normalize("NFD", name) for name in names])
    assert run("init", made, "--output", tmp_path / "a.yaml") == 1
    assert "encode accented letters as the name of the file does" in capsys.readouterr().err


IDS = {
    "several_folders": ([f"{n % 4}/x{n}.png" for n in range(40)], "x{}", "are in 4 folders, such as '0' and '1'"),
    "zeros": ([f"val/{n:012}.jpg" for n in range(40)], "{}", "as '000000000000.jpg' for 0"),
}


@pytest.mark.parametrize(("there", "key", "told"), IDS.values(), ids=IDS)
def test_ids_of_pictures_that_no_reference_finds_are_told(tmp_path, capsys, there, key, told):
    made = named_otherwise(tmp_path / "in", [key.format(n) for n in range(40)], "image_id", there)
    assert run("init", made, "--output", tmp_path / "a.yaml") == 1
    assert told in capsys.readouterr().err


def test_where_texts_say_something_too_pictures_that_cannot_be_read_are_left_out(tmp_path, capsys):
    rows = [(f"https://example.com/{n}.jpg", text(n), KINDS[n % 3]) for n in range(60)]
    made = table(tmp_path / "in" / "rows.csv", ["photo", "title", "label"], rows)
    assert run("init", made, "--output", tmp_path / "a.yaml") == 0
    assert "photo is not read: it names pictures by https://" in capsys.readouterr().err
    assert set(load_config(str(tmp_path / "a.yaml")).fields) == {"title", "label"}


def test_a_target_that_is_asked_for_does_without_pictures(tmp_path):
    rows = [(f"gone/{n}.jpg", f"{n % 7}.5", KINDS[n % 3]) for n in range(60)]
    made = table(tmp_path / "in" / "rows.csv", ["photo", "width", "label"], rows)
    assert run("init", made, "--output", tmp_path / "a.yaml", "--target", "label") == 0
    assert set(load_config(str(tmp_path / "a.yaml")).fields) == {"width", "label"}


NO_SOURCE = {
    "empty": ({}, "the folder is empty"),
    "sheet": ({"a.xlsx": b"PK"}, "there is a .xlsx file (a.xlsx); save each sheet as CSV"),
    "array": ({"a.json": b' [{"a": 1}]'}, "it holds one JSON array: write JSON Lines"),
    "document": ({"a.json": b'{"a": 1}'}, "it holds one JSON document"),
    "texts": ({"pos/1.txt": b"good", "neg/2.txt": b"bad"}, "write their texts into a table"),
    "unknown": ({"a.zzz": b"?"}, "if one of csv, image_folder"),
}


@pytest.mark.parametrize(("there", "told"), NO_SOURCE.values(), ids=NO_SOURCE)
def test_what_no_source_reads_is_named_with_what_to_do(tmp_path, capsys, there, told):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in there.items():
        put(folder / name, data)
    assert run("init", folder, "--output", tmp_path / "a.yaml") == 1
    assert f"no source reads {folder}: " in (said := capsys.readouterr().err)
    assert told in said


def test_a_table_of_another_suffix_is_read_by_the_source_that_is_named(tmp_path, capsys):
    made = table(tmp_path / "in" / "rows.txt", ["text", "label"], [(text(n), KINDS[n % 3]) for n in range(60)])
    assert run("init", made, "--output", tmp_path / "a.yaml") == 1
    assert "give --source csv" in capsys.readouterr().err
    assert run("init", made, "--output", tmp_path / "a.yaml", "--source", "csv") == 0
    assert load_config(str(tmp_path / "a.yaml")).source.use == "csv"


def test_pictures_come_before_a_smaller_table_that_names_none_of_them(tmp_path, capsys):
    folder = tmp_path / "in"
    pictures(folder, [f"{KINDS[n % 3]}/p{n}.png" for n in range(36)])
    table(
        folder / "notes.csv", ["date", "who", "note"], [(f"2024-03-0{n}", KINDS[n % 2], text(n)) for n in range(1, 9)]
    )
    assert run("init", folder, "--output", tmp_path / "a.yaml") == 0
    said = capsys.readouterr().err
    why = "the 8 rows are fewer than the files and name none of them. To read the rows, give --source"
    assert f"notes.csv is passed over: {why}" in said
    assert load_config(str(tmp_path / "a.yaml")).source.use == "image_folder"
    assert run("init", folder, "--output", tmp_path / "b.yaml", "--source", "csv") == 0
    assert load_config(str(tmp_path / "b.yaml")).source.use == "csv"
    assert "no column names the 36 pictures in" in capsys.readouterr().err


def test_links_and_files_that_are_passed_over_are_told(tmp_path, capsys):
    folder = tmp_path / "in"
    pictures(folder, [f"{KINDS[n % 3]}/p{n}.png" for n in range(36)])
    put(tmp_path / "store" / "blue" / "1.png", picture(1))
    for name, target in (("blue", tmp_path / "store" / "blue"), ("green", tmp_path / "store"), ("gone", "nowhere")):
        (folder / name).symlink_to(target)
    put(folder / "captions.txt", b"image,caption")
    assert run("init", folder, "--output", tmp_path / "a.yaml") == 0
    said = capsys.readouterr().err
    assert "2 links to a folder outside the input; `roots` or --root allows it (blue, green)" in said
    assert "1 link that leads nowhere (gone)" in said
    assert "1 of a kind that the source does not read (captions.txt)" in said


NO_CLASSES = {
    "years_and_months": ([f"{2020 + n % 3}/{1 + n % 12:02}/{n}.jpg" for n in range(48)], "named after months"),
    "dates": ([f"2023-05-{1 + n % 20:02}/{n}.jpg" for n in range(48)], "named after dates"),
    "month_names": ([f"{('05 May', '06 June', '07 July')[n % 3]}/{n}.jpg" for n in range(48)], "named after months"),
    "masks": (
        [f"{folder}/{n}{end}.png" for n in range(24) for folder, end in (("imgs", ""), ("masks", "_mask"))],
        "most files in 'masks' are named after files in 'imgs'",
    ),
}


@pytest.mark.parametrize(("names", "told"), NO_CLASSES.values(), ids=NO_CLASSES)
def test_folders_that_are_no_classes_are_no_targets(tmp_path, capsys, names, told):
    pictures(tmp_path / "in", names)
    assert run("init", tmp_path / "in", "--output", tmp_path / "a.yaml") == 1
    said = capsys.readouterr().err
    assert "looks like a target" in said
    assert told in said


@pytest.mark.parametrize("made", ["the_target_in_another_unit"], indirect=True)
def test_a_column_that_tells_the_target_is_told(tmp_path, capsys, made):
    assert run("init", made, "--output", tmp_path / "a.yaml") == 0
    said = capsys.readouterr().err
    assert "price_usd is not read: it holds the target price in another unit" in said
    assert "again is not read: it repeats the target price" in said
    assert "millions holds the target price in another unit, or determines it exactly" in said


def test_a_broken_row_is_no_other_encoding(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert run("init", MAKERS["one_broken_row"](tmp_path / "in"), "--output", tmp_path / "config.yaml") == 0
    assert load_config(str(tmp_path / "config.yaml")).source.parameters == {}
    assert "note: rows that cannot be read: 1; the first: rows.csv:9: 'utf-8' codec" in capsys.readouterr().err


def test_another_encoding_is_told_with_an_example(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert run("init", MAKERS["chinese_letters"](tmp_path / "in"), "--output", tmp_path / "config.yaml") == 0
    assert load_config(str(tmp_path / "config.yaml")).source.parameters == {"encoding": "gb18030"}
    assert "note: the text is not UTF-8; read as gb18030, it contains '标题,类别'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("made", "field", "use", "parameters"),
    [
        ("decimal_commas", "number_columns", "number", {"columns": ["fixed acidity", "pH"], "decimal": ","}),
        ("a_target_with_decimal_commas", "price", "number", {"decimal": ",", "thousands": "."}),
        ("codes_with_zeros_in_front", "zip", "category", {}),
        ("tags_as_sets", "tags", "tags", {}),
    ],
    indirect=["made"],
)
def test_a_field_has_the_parameters_that_read_its_column(tmp_path, made, field, use, parameters):
    assert run("init", made, "--output", tmp_path / "config.yaml") == 0
    found = load_config(str(tmp_path / "config.yaml")).fields[field]
    assert (found.use, found.parameters) == (use, parameters)


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [
        "a_table_in_the_folder_of_each_split",
        "split_folders",
        "ids_of_pictures_in_a_subfolder",
        "missing_markers",
        "without_names",
        "tags_as_json",
        "decimal_commas",
    ],
    indirect=True,
)
def test_the_config_leads_to_labels_unedited(tmp_path, made):
    config = tmp_path / "config.yaml"
    assert run("init", made, "--output", config) == 0
    assert run("preprocess", config, "--tiny", "--output", tmp_path / "examples") == 0
    assert run("train", config, "--tiny", "--examples", tmp_path / "examples", "--output", tmp_path / "model") == 0
    assert run("label", tmp_path / "model", "--input", made, "--output", tmp_path / "labels") == 0
    heads = load_config(str(config)).model.heads
    rows = read_rows(tmp_path / "labels")
    assert len(rows) >= 48
    assert all(set(heads) <= set(row) for row in rows)
