"""A folder of pictures: every picture is a row, its folder's name the category."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from mmstream_io import image_folder
from mmstream_io.image_folder import ImageFolder

from mmstream.errors import MediaError, MmstreamError
from mmstream.interfaces import Row
from mmstream.records.media import Media


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "pictures"


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))


def rows_of(folder: Path | str) -> list[Row]:
    source = ImageFolder()
    splits = pickle.loads(pickle.dumps(source.splits(str(folder))))
    rows = [list(source.read(split)) for split in splits]
    assert [split.rows for split in splits] == [len(found) for found in rows]
    return [row for found in rows for row in found]


def pairs_of(folder: Path | str) -> list[tuple[str, str | None]]:
    return [(row.columns["image"], row.columns["category"]) for row in rows_of(folder) if row.columns]


def test_the_name_of_a_folder_is_the_category_of_its_pictures(folder):
    put(folder, "cat/1.png", "cat/2.jpg", "dog/1.png")
    assert rows_of(folder) == [
        Row("cat/1.png", {"image": "cat/1.png", "category": "cat"}),
        Row("cat/2.jpg", {"image": "cat/2.jpg", "category": "cat"}),
        Row("dog/1.png", {"image": "dog/1.png", "category": "dog"}),
    ]


def test_of_nested_folders_the_first_is_the_category(folder):
    put(folder, "cat/big/wild/1.png", "cat/1.png", "cat/small/1.png")
    assert pairs_of(folder) == [("cat/1.png", "cat"), ("cat/big/wild/1.png", "cat"), ("cat/small/1.png", "cat")]


def test_each_level_of_nested_folders_is_a_column(folder):
    put(folder, "Fruit/Apple/Golden/1.png", "Packages/Milk/2.png", "=x/3.png")
    assert [row.columns for row in rows_of(folder)] == [
        {"category": "=x", "image": "=x/3.png"},
        {"category": "Fruit", "category_2": "Apple", "category_3": "Golden", "image": "Fruit/Apple/Golden/1.png"},
        {"category": "Packages", "category_2": "Milk", "image": "Packages/Milk/2.png"},
    ]


def test_folders_called_key_and_value_are_columns_of_their_own(folder):
    put(folder, "cat/year=2020/1.png", "year=2021/dog/image=x/2.png")
    assert [row.columns for row in rows_of(folder)] == [
        {"category": "cat", "year": "2020", "image": "cat/year=2020/1.png"},
        {"category": "dog", "year": "2021", "image": "year=2021/dog/image=x/2.png"},
    ]


def test_a_picture_at_the_top_has_no_category(folder):
    put(folder, "1.png", "cat/2.png")
    assert pairs_of(folder) == [("1.png", None), ("cat/2.png", "cat")]


def test_pictures_are_told_by_their_suffix_in_any_case(folder):
    put(folder, "a/1.PNG", "a/2.JpEg", "a/3.txt", "a/png", "a/4.png.txt", "a/5.", "a/6.tar.webp", "a/Thumbs.db")
    assert [image for image, _ in pairs_of(folder)] == ["a/1.PNG", "a/2.JpEg", "a/6.tar.webp"]


def test_hidden_files_and_folders_are_passed_over(folder):
    put(folder, "cat/1.png", "cat/.2.png", "cat/.thumbnails/3.png", ".git/4.png", ".5.png", "cat/._1.png")
    assert pairs_of(folder) == [("cat/1.png", "cat")]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "big cats/a b.png",
            " x / y .png",
            "猫/猫.png",
            "e\u0301/é.png",
            "a:1/b:2.png",
            "*[x]?/[1].png",
            "a\nb/c\nd.png",
        ),
        *("-rf/--help.png", "'\"/\\.png", "%41/%2e.png", "http:/x.png", "~/x.png", "😀/😀.png"),
    ],
)
def test_a_name_comes_as_it_is_and_its_file_can_be_opened(folder, name):
    put(folder, name, "other/1.png")
    assert (name, name.split("/")[0]) in pairs_of(folder)
    assert Media(str(folder)).read(name, 1000) == name.encode()


@pytest.mark.parametrize("name", [b"caf\xe9/1.png", b"cat/caf\xe9.png"])
def test_a_name_that_is_not_utf8_is_a_row_with_an_error_that_costs_no_other(folder, name):
    put(folder, "cat/1.png", os.fsdecode(name), "zebra/1.png")
    rows = rows_of(folder)
    (bad,) = [row for row in rows if row.error]
    assert [row.origin for row in rows if row is not bad] == ["cat/1.png", "zebra/1.png"]
    assert (bad.columns, bad.raw) == (None, name)
    assert bad.origin == name.decode("utf-8", "surrogateescape").encode("utf-8", "backslashreplace").decode()
    assert str(bad.error) == "the file name is not valid UTF-8"


def test_a_link_to_a_picture_is_a_row_and_opens_only_where_it_points_inside(folder):
    put(folder, "cat/1.png")
    put(folder.parent, "secret.png")
    (folder / "cat/2.png").symlink_to("1.png")
    (folder / "cat/3.png").symlink_to(folder.parent / "secret.png")
    (folder / "cat/4.png").symlink_to("missing.png")
    (folder / "cat/5.png").symlink_to("5.png")
    assert [image for image, _ in pairs_of(folder)] == [f"cat/{number}.png" for number in (1, 2, 3, 4, 5)]
    media = Media(str(folder))
    assert media.read("cat/2.png", 100) == b"cat/1.png"
    for image in ("cat/3.png", "cat/4.png", "cat/5.png"):
        with pytest.raises(MediaError):
            media.read(image, 100)


def test_a_link_to_a_folder_is_not_followed_so_that_a_circle_ends(folder):
    put(folder, "cat/1.png")
    (folder / "cat/again").symlink_to(folder)
    (folder / "dog").symlink_to("cat")
    assert pairs_of(folder) == [("cat/1.png", "cat")]


def test_a_large_class_is_read_in_several_splits_that_miss_and_repeat_nothing(folder, monkeypatch):
    names = sorted([f"cat/{number:02}.png" for number in range(10)] + ["dog/1.png", "1.png", "2.png", "3.png"])
    put(folder, *names, "cat/x/1.png", "cat/11.txt")
    whole = rows_of(folder)
    monkeypatch.setattr(image_folder, "SPLIT_ROWS", 3)
    assert len(ImageFolder().splits(str(folder))) == 1 + 4 + 1
    assert rows_of(folder) == whole
    assert sorted(row.origin for row in whole) == sorted([*names, "cat/x/1.png"])


def test_a_slash_at_the_end_of_the_path_changes_nothing(folder):
    put(folder, "cat/1.png", "2.png")
    assert rows_of(f"{folder}/") == rows_of(folder)


def test_a_path_from_here_does_as_well(folder, monkeypatch):
    put(folder, "cat/1.png", "2.png")
    for here, path in ((folder, "."), (folder.parent, "pictures"), (folder / "cat", "..")):
        monkeypatch.chdir(here)
        assert pairs_of(path) == [("2.png", None), ("cat/1.png", "cat")]


def test_a_folder_without_a_picture_is_an_error_that_says_what_is_looked_for(folder):
    put(folder, "cat/readme.txt")
    (folder / "dog").mkdir()
    with pytest.raises(MmstreamError, match=r"there is no picture in .*pictures \(by suffix: .*\.png.*\)"):
        ImageFolder().splits(str(folder))


def test_an_empty_and_a_missing_folder_are_errors_that_name_it(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MmstreamError, match=r"there is no picture in .*empty"):
        ImageFolder().splits(str(tmp_path / "empty"))
    with pytest.raises(MmstreamError, match=r"there is no .*missing"):
        ImageFolder().splits(str(tmp_path / "missing"))


def test_a_picture_or_a_pattern_of_them_is_read(folder, monkeypatch):
    put(folder, "cat/1.png", "cat/2.png", "dog/1.png", "dog/1.txt")
    assert pairs_of(folder / "cat" / "2.png") == [("2.png", None)]
    monkeypatch.setattr(image_folder, "SPLIT_ROWS", 1)
    assert pairs_of(folder / "*" / "1.*g") == [("cat/1.png", "cat"), ("dog/1.png", "dog")]


def test_a_folder_on_another_filesystem_is_read_through_beam(memory_files, monkeypatch):
    names = [
        "1.png",
        "cat/1.png",
        "cat/big/2.JPG",
        "cat/3.png",
        "cat/.hidden.png",
        "cat/notes.txt",
        "dög/1.png",
        "z.png",
    ]
    memory_files.update({f"memory://bucket/pictures/{name}": name.encode() for name in names})
    memory_files["memory://bucket/pictures-too/cat/1.png"] = b"another folder"
    whole = pairs_of("memory://bucket/pictures")
    expected = {"1.png": None, "cat/1.png": "cat", "cat/3.png": "cat", "cat/big/2.JPG": "cat", "dög/1.png": "dög"}
    expected["z.png"] = None
    assert dict(whole) == expected
    assert len(whole) == len(expected)
    monkeypatch.setattr(image_folder, "SPLIT_ROWS", 2)
    assert pairs_of("memory://bucket/pictures/") == whole
    media = Media("memory://bucket/pictures")
    assert {image: media.read(image, 100) for image, _ in whole} == {image: image.encode() for image in expected}


def test_an_empty_folder_on_another_filesystem_is_an_error_that_names_it(memory_files):
    with pytest.raises(MmstreamError, match="there is no memory://bucket/pictures"):
        ImageFolder().splits("memory://bucket/pictures")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("missing.png", "cannot open"),
        ("cat/../../secret.png", "outside the allowed folders"),
        ("../secret.png", "outside the allowed folders"),
        ("memory://bucket/secret.png", "outside the allowed folders"),
        ("memory://bucket/pictures/../secret.png", "outside the allowed folders"),
        ("/etc/passwd", "outside the allowed folders"),
        ("nowhere://bucket/1.png", "no filesystem is installed for nowhere://"),
        ("large.png", "more bytes than max_bytes = 100"),
    ],
)
def test_media_on_another_filesystem_are_read_only_from_the_allowed_folders(memory_files, reference, message):
    memory_files["memory://bucket/secret.png"] = b"secret"
    memory_files["memory://bucket/pictures/large.png"] = bytes(101)
    with pytest.raises(MediaError, match=message):
        Media("memory://bucket/pictures").read(reference, 100)


def test_a_root_on_another_filesystem_allows_its_files_beside_a_local_folder(memory_files, folder):
    put(folder, "1.png")
    memory_files["memory://bucket/2.png"] = b"two"
    media = Media(str(folder), ["memory://bucket/"])
    assert (media.read("1.png", 100), media.read("memory://bucket/2.png", 100)) == (b"1.png", b"two")
