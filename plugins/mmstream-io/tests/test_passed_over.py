"""What a source does not read of its input is counted by reason and named; linked folders are read once, or named."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import pytest
from mmstream_io import image_folder
from mmstream_io.image_folder import ImageFolder
from mmstream_io.jsonl import Jsonl

from mmstream.errors import MmstreamError
from mmstream.inputs.arrivals import Arrivals
from mmstream.inputs.listing import AROUND, HIDDEN, NOWHERE, OTHER, OUTSIDE, READ_ALREADY
from mmstream.inputs.sources import source_for
from mmstream.interfaces import Source

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "pictures"


def put(folder: Path, *names: str, data: bytes = b"nothing that is known") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read(folder: Path, *roots: Path, source: Source | None = None) -> tuple[list[str], dict[str, list[str]]]:
    """The origins of the rows, and what was passed over, by reason."""
    source = source or ImageFolder()
    source.roots = [str(root) for root in roots]
    splits = pickle.loads(pickle.dumps(source.splits(str(folder))))
    rows = [list(source.read(split)) for split in splits]
    assert [len(some) for some in rows] == [split.rows for split in splits]
    for each in source.passed_over:
        assert each.total >= len(each.first)
    return [row.origin for some in rows for row in some], {each.reason: [*each.first] for each in source.passed_over}


def test_what_is_no_picture_is_counted_and_the_first_few_are_named(folder):
    put(folder, "cat/1.png", "cat/x.psd", "cat/y.jxl", "cat/z.svg", *(f"dog/{number}.txt" for number in range(9)))
    put(folder, ".DS_Store", "cat/._1.png", ".git/config", "cat/Thumbs.db")
    source = ImageFolder()
    assert read(folder, source=source) == (
        ["cat/1.png"],
        {
            HIDDEN: [".DS_Store", ".git", "cat/._1.png"],
            OTHER: ["cat/Thumbs.db", "cat/x.psd", "cat/y.jxl", "cat/z.svg", "dog/0.txt"],
        },
    )
    assert [each.total for each in source.passed_over] == [3, 13]


@pytest.mark.parametrize(
    "head",
    [
        PNG,
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"II*\0",
        b"MM\0*",
        b"\0\0\0\x24ftypheic",
        b"\0\0\0\x1cftypavif",
        b"BM" + struct.pack("<IIII", 100, 0, 54, 40),
        b"\0\0\0\x0cjP  \r\n\x87\n",
    ],
)
@pytest.mark.parametrize("name", ["1", "1.dat", "1.png.part", "a.b/1.txt"])
def test_a_picture_of_any_name_is_read(folder, head, name):
    put(folder, f"cat/{name}", data=head + bytes(40))
    put(folder, "cat/0.txt", data=b"BMW is no bitmap, RIFF no WebP")
    assert read(folder) == ([f"cat/{name}"], {OTHER: ["cat/0.txt"]})


def test_what_is_called_a_picture_is_a_record_whatever_it_holds(folder):
    put(folder, "cat/1.png", "cat/2.HEIC", "cat/3.avif", data=b"a text")
    assert read(folder) == (["cat/1.png", "cat/2.HEIC", "cat/3.avif"], {})


def test_what_cameras_write_beside_a_picture_is_none(folder):
    put(folder, "cat/1.nef", "cat/1.CR2", data=b"II*\0" + bytes(40))
    put(folder, "cat/1.jpg")
    assert read(folder) == (["cat/1.jpg"], {OTHER: ["cat/1.CR2", "cat/1.nef"]})


def test_nothing_but_plain_files_is_looked_into(folder):
    put(folder, "cat/1.png")
    put(folder.parent, "secret", data=PNG)
    os.mkfifo(folder / "cat/pipe")
    (folder / "cat/device").symlink_to("/dev/zero")
    (folder / "cat/link").symlink_to(folder.parent / "secret")
    (folder / "cat/lost").symlink_to("missing")
    (folder / "cat/named").symlink_to("1.png")
    put(folder, "cat/locked", data=PNG)
    (folder / "cat/locked").chmod(0)
    found, passed = read(folder)
    assert [each for each in found if each != "cat/locked"] == ["cat/1.png", "cat/named"]  # root may read anything
    assert {*passed[OTHER]} >= {"cat/device", "cat/link", "cat/pipe"}
    assert passed[NOWHERE] == ["cat/lost"]


def test_a_linked_class_within_the_roots_is_read_and_outside_it_is_named(folder, tmp_path):
    put(tmp_path, "store/dog/1.png", "store/dog/big/2.png", "pictures/cat/1.png")
    (folder / "dog").symlink_to("../store/dog")
    (folder / "wolf").symlink_to(tmp_path / "store/dog/big")
    assert read(folder) == (["cat/1.png"], {OUTSIDE: ["dog", "wolf"]})
    assert read(folder, tmp_path / "elsewhere", tmp_path / "sto")[0] == ["cat/1.png"]
    expected = ["cat/1.png", "dog/1.png", "dog/big/2.png"]
    assert read(folder, tmp_path / "store") == (expected, {READ_ALREADY: ["wolf"]})
    source = ImageFolder()
    source.roots = [str(tmp_path / "store")]
    rows = [row for split in source.splits(str(folder)) for row in source.read(split)]
    assert [row.columns["category"] for row in rows] == ["cat", "dog", "dog"]


def test_linked_folders_are_read_once_and_circles_end(folder, tmp_path):
    put(tmp_path, "store/a/1.png", "store/b/2.png", "pictures/cat/.hidden/3.png", "pictures/cat/4.png", "other/5.png")
    links = {
        "pictures/cat/again": folder,
        "pictures/cat/self": folder / "cat",
        "pictures/dog": folder / "cat",
        "pictures/hid": folder / "cat/.hidden",
        "pictures/up": tmp_path,
        "pictures/x": tmp_path / "store/b",
        "pictures/y": tmp_path / "store",
        "pictures/z": tmp_path / "store/a",
        "store/a/round": tmp_path / "store",
        "store/a/in": folder / "cat",
        "store/a/one": tmp_path / "other",
        "store/b/two": tmp_path / "other",
        "store/b/lost": tmp_path / "missing",
        "store/b/c": tmp_path / "store/b/c",
    }
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    found, passed = read(folder, tmp_path)
    assert found == ["cat/4.png", "hid/3.png", "x/2.png", "x/two/5.png", "y/a/1.png"]
    assert passed == {
        READ_ALREADY: ["dog", "z", "cat/again", "cat/self", "y/b"],  # and in y/a: in, one, round
        AROUND: ["up"],
        HIDDEN: ["cat/.hidden"],
        OTHER: ["x/c", "x/lost"],
    }


def test_a_linked_input_is_cut_into_splits_that_miss_and_repeat_nothing(folder, tmp_path, monkeypatch):
    put(tmp_path, *(f"store/{number}.png" for number in range(7)), "pictures/cat/1.png", "pictures/2.png")
    (folder / "dog").symlink_to(tmp_path / "store")
    whole, _ = read(folder, tmp_path / "store")
    monkeypatch.setattr(image_folder, "SPLIT_ROWS", 2)
    assert read(folder, tmp_path / "store")[0] == whole
    assert len(set(whole)) == 9


def test_a_table_says_what_lies_beside_it_but_for_media(folder, tmp_path):
    put(folder, "a.jsonl", data=b'{"id": 1}\n')
    put(folder, "b.json", "pics/1.png", "pics/2.wav", ".c.jsonl", "notes.docx")
    put(tmp_path, "more/d.jsonl", data=b'{"id": 2}\n')
    (folder / "more").symlink_to(tmp_path / "more")
    found, passed = read(folder, source=Jsonl())
    assert found == ["a.jsonl:1"]
    assert passed == {HIDDEN: [".c.jsonl"], OUTSIDE: ["more"], OTHER: ["b.json", "notes.docx"]}
    found, passed = read(folder, tmp_path / "more", source=Jsonl())
    assert found == ["a.jsonl:1", "more/d.jsonl:1"]


@pytest.mark.parametrize("source", [ImageFolder, Jsonl])
def test_where_nothing_is_read_the_message_says_what_is_there(folder, source):
    put(folder, "cat/x.psd", "cat/y.psd")
    with pytest.raises(MmstreamError, match=r"2 of a kind that the source does not read \(cat/x.psd, cat/y.psd\)"):
        source().splits(str(folder))


def test_a_watcher_reads_and_passes_over_the_same(folder, tmp_path):
    put(tmp_path, "store/1.png", "pictures/cat/1.png", "pictures/cat/x.psd", "pictures/.hidden")
    put(folder, "cat/2", data=PNG)
    (folder / "dog").symlink_to(tmp_path / "store")
    (folder / "wolf").symlink_to(tmp_path)
    source = ImageFolder()
    source.roots = [str(tmp_path / "store")]
    arrivals = Arrivals(source, str(folder))
    arrivals.count()
    assert [row.origin for row in arrivals.sample(10)] == ["cat/1.png", "cat/2", "dog/1.png"]
    found, passed = read(folder, tmp_path / "store")
    assert found == ["cat/1.png", "cat/2", "dog/1.png"]
    assert {each.reason: [*each.first] for each in arrivals.passed_over} == passed


def test_hidden_files_of_a_store_are_counted(memory_files):
    for name in ("cat/1.png", "cat/.2.png", ".x/3.png", "cat/z.svg"):
        memory_files[f"memory://bucket/pictures/{name}"] = PNG
    source = ImageFolder()
    source.splits("memory://bucket/pictures")
    passed = {each.reason: {*each.first} for each in source.passed_over}
    assert passed == {HIDDEN: {"cat/.2.png", ".x/3.png"}, OTHER: {"cat/z.svg"}}


def test_a_folder_of_pictures_without_suffixes_is_told_by_what_they_hold(folder):
    put(folder, "cat/0", "cat/readme")
    with pytest.raises(MmstreamError, match="no source reads"):
        source_for(str(folder))
    put(folder, "cat/1", data=PNG)
    assert source_for(str(folder)) == source_for(str(folder / "cat/1")) == "image_folder"
