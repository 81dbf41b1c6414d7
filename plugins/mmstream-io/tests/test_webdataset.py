"""WebDataset: members that share a stem are a row; what an archive has lost says so and costs no other."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmstream_io import limits, stems, webdataset
from mmstream_io.webdataset import Webdataset

from mmstream.errors import MmstreamError
from mmstream.interfaces import PassedOver, Row

JPG = b"\xff\xd8\xff, a picture"
PNG = b"\x89PNG, a picture"


@pytest.fixture
def read(tmp_path):
    """Write bytes to a file and read them as a job does, split by split."""

    def write_and_read(data: bytes, name: str = "a.tar") -> list[Row]:
        path = tmp_path / name
        path.write_bytes(data)
        return rows_of(str(path))

    return write_and_read


def rows_of(path: str) -> list[Row]:
    source = Webdataset()
    splits = pickle.loads(pickle.dumps(source.splits(path)))
    rows = [list(source.read(split)) for split in splits]
    assert [split.rows for split in splits] == [len(found) for found in rows]
    return [row for found in rows for row in found]


def comparable(rows: list[Row]) -> list[tuple]:
    return [(row.origin, row.columns, row.raw, str(row.error)) for row in rows]


def columns_of(rows: list[Row]) -> list[dict | None]:
    return [row.columns for row in rows]


def errors_of(rows: list[Row]) -> dict[str, str]:
    return {row.origin: str(row.error) for row in rows if row.error}


def member(name: str, data: bytes = b"", **about) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in about.items():
        setattr(info, key, value)
    return info, data


def archive(*members: tuple[str, bytes] | tuple[tarfile.TarInfo, bytes], kind: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, data in members:
            info = member(name, data)[0] if isinstance(name, str) else name
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def texts(*stems: str) -> list[tuple[str, bytes]]:
    return [(f"{stem}.txt", stem.encode()) for stem in stems]


def row_of(stem: str) -> dict:
    return {"__key__": stem, "text": stem}


def test_members_that_share_a_stem_are_a_row(read):
    data = archive(("0001.jpg", JPG), ("0001.json", b'{"id": 1, "tags": ["a"]}'), ("0002.png", PNG), ("0002.cls", b"3"))
    assert read(data) == [
        Row("a.tar/0001", {"__key__": "0001", "image": JPG, "id": 1, "tags": ["a"]}),
        Row("a.tar/0002", {"__key__": "0002", "image": PNG, "category": "3"}),
    ]


def test_the_folder_of_a_member_belongs_to_its_stem(read):
    data = archive(("a/b/1.txt", b"x"), ("a/b/1.cls", b"y"), ("a/c/1.txt", b"z"), ("1.txt", b"w"))
    assert [(row.origin, row.columns["__key__"]) for row in read(data)] == [
        ("a.tar/a/b/1", "a/b/1"),
        ("a.tar/a/c/1", "a/c/1"),
        ("a.tar/1", "1"),
    ]


def test_a_stem_ends_at_the_first_dot_of_the_name_alone(read):
    (row,) = read(archive(("v1.0/1.left.jpg", JPG), ("v1.0/1.right.jpg", PNG), ("v1.0/1.seg.npy", b"\x93NUMPY")))
    assert row.columns == {"__key__": "v1.0/1", "left.jpg": JPG, "right.jpg": PNG, "seg.npy": b"\x93NUMPY"}


def test_a_dot_and_a_slash_before_the_name_are_passed_over(read):
    data = archive(member("./", type=tarfile.DIRTYPE), ("./1.txt", b"1"), ("1.cls", b"2"), ("./a/2.txt", b"a/2"))
    assert columns_of(read(data)) == [{"__key__": "1", "text": "1", "category": "2"}, row_of("a/2")]


def test_the_kind_of_a_member_names_its_column(read):
    data = archive(
        *(("1.JPG", JPG), ("1.flac", b"\xff1"), ("1.mp4", b"\xff2"), ("1.TXT", b"cat"), ("1.cls", b"tom")),
        *(("1.html", b"<p>"), ("1.npy", b"\x93")),
    )
    (row,) = read(data)
    assert row.columns == {
        **{"__key__": "1", "image": JPG, "audio": b"\xff1", "video": b"\xff2", "text": "cat", "category": "tom"},
        **{"html": "<p>", "npy": b"\x93"},
    }


def test_several_pictures_are_called_by_their_suffix(read):
    first, second = read(archive(("1.jpg", JPG), ("1.png", PNG), ("1.mp3", b"\xff"), ("2.png", PNG)))
    assert first.columns == {"__key__": "1", "jpg": JPG, "png": PNG, "audio": b"\xff"}
    assert second.columns == {"__key__": "2", "image": PNG}


def test_media_are_bytes_even_where_they_could_be_text(read):
    (row,) = read(archive(("1.pgm", b"P2 1 1 1 1"), ("1.mp3", b"ID3"), ("1.small.pgm", b"P2 1 1 1 0")))
    assert row.columns == {"__key__": "1", "image": b"P2 1 1 1 1", "audio": b"ID3", "small.pgm": b"P2 1 1 1 0"}


def test_json_that_is_no_object_is_a_column(read):
    assert columns_of(read(archive(("1.json", b"[1, 2]")))) == [{"__key__": "1", "json": [1, 2]}]


def test_hidden_members_and_folders_are_passed_over_without_parting_a_record(read):
    data = archive(
        *(member("a", type=tarfile.DIRTYPE), member("a/1.txt", b"a/1"), member(".DS_Store", b"x")),
        *(member("a/._1.txt", b"x"), member(".git/2.txt", b"x"), member("a/.b/3.txt", b"x"), member("./.c/4.txt")),
        *(member("a/empty.d", type=tarfile.DIRTYPE), member("a/1.cls", b"x"), member("../5.txt", b"../5")),
    )
    assert columns_of(read(data)) == [{**row_of("a/1"), "category": "x"}, row_of("../5")]


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_names_in_other_scripts_are_read_wherever_the_archive_is_cut(read, kind, monkeypatch):
    stems = [f"{'folder/' * 40}{'x' * 120}{number}" for number in range(3)] + ["猫/食べ物"]
    data = archive(*texts(*stems), *[(f"{stems[-1]}.jpg", JPG)], kind=kind)
    expected = [*map(row_of, stems[:-1]), {**row_of(stems[-1]), "image": JPG}]
    assert columns_of(read(data)) == expected
    monkeypatch.setattr(webdataset, "SPLIT_BYTES", 1)
    assert columns_of(read(data)) == expected


def test_a_global_header_of_an_archive_is_no_member(read):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 600}) as tar:
        for name, data in texts("1", "2"):
            tar.addfile(member(name, data)[0], io.BytesIO(data))
    assert columns_of(read(out.getvalue())) == [row_of("1"), row_of("2")]


def test_a_name_that_is_not_utf8_gives_an_origin_that_can_be_written(read):
    (row,) = read(archive((os.fsdecode(b"caf\xe9.txt"), b"x")))
    assert row == Row("a.tar/caf\\udce9", {"__key__": "caf\\udce9", "text": "x"})


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("size", [0, 700])
def test_a_member_that_is_no_plain_file_makes_its_record_a_bad_row_alone(read, kind, size):
    link = member("2.jpg", type=kind, linkname="1.jpg", size=size)
    rows = read(archive(member("1.txt", b"1"), link, member("2.txt", b"x"), member("3.txt", b"3")))
    assert columns_of(rows) == [row_of("1"), None, row_of("3")]
    assert errors_of(rows) == {"a.tar/2": "the member '2.jpg' is not a plain file"}


@pytest.mark.parametrize("split_bytes", [1, 1 << 20])
def test_a_member_with_holes_is_refused_for_its_bytes_do_not_stand_there(read, split_bytes, monkeypatch):
    monkeypatch.setattr(webdataset, "SPLIT_BYTES", split_bytes)
    headers = {"GNU.sparse.map": "0,1,100000,1", "GNU.sparse.size": "100001", "GNU.sparse.name": "2.bin"}
    hole = member("2.bin", b"ab", pax_headers=headers)
    rows = read(archive(member("1.txt", b"1"), hole, member("3.txt", b"3"), kind=tarfile.PAX_FORMAT))
    assert columns_of(rows) == [row_of("1"), None, row_of("3")]
    assert errors_of(rows) == {"a.tar/2": "the member '2.bin' is not a plain file"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("2.txt", b"x"), ("2.txt", b"x")], "the member '2.txt' occurs twice"),
        ([("2.jpg", JPG), ("./2.JPG", JPG)], "the member './2.JPG' occurs twice"),
        ([("2.txt", b"caf\xe9")], "'utf-8' codec can't decode"),
        ([("2.json", b"{")], "Expecting property name"),
        ([("2.json", b'{"a": 1, "a": 2}')], "the key 'a' occurs twice"),
        ([("2.txt", b"x"), ("2.json", b'{"text": "y"}')], "the column 'text' occurs twice"),
        ([("2.json", b'{"text": "y"}'), ("2.txt", b"x")], "the column 'text' occurs twice"),
        ([("2", b"x")], "the member '2' has no suffix"),
        ([("2.bin", bytes(101))], "the member '2.bin' has 101 bytes, which is too many"),
    ],
)
def test_a_bad_record_says_what_is_wrong_and_costs_no_other(read, monkeypatch, members, message):
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", 100)
    rows = read(archive(*texts("1"), *members, *texts("3")))
    assert columns_of(rows) == [row_of("1"), None, row_of("3")]
    assert message in errors_of(rows)["a.tar/2"]
    assert rows[1].raw["__key__"] == "2"


@pytest.mark.parametrize("split_bytes", [1, 1 << 20])
def test_wherever_an_archive_is_cut_off_what_is_whole_is_read_and_the_rest_says_so(read, split_bytes, monkeypatch):
    monkeypatch.setattr(webdataset, "SPLIT_BYTES", split_bytes)
    data = archive(("1.txt", b"1"), ("2.txt", b"2" * 600), ("3.txt", b"3"))
    headers = [0, 1024, 1024 + 1536]
    end = headers[-1] + 1024
    for length in [600, 1023, 1024, 1025, 1535, 1536, 1700, 2135, 2136, 2400, 2560, 2561, 3072, 3073, end - 1, end]:
        rows = read(data[:length])
        whole = sum(length >= start + 512 + size for start, size in zip(headers, (1, 600, 1), strict=True))
        found = columns_of(rows)
        assert [row for row in found if row] == [row_of("1"), {"__key__": "2", "text": "2" * 600}, row_of("3")][:whole]
        assert "the archive ends without an end mark" in str(rows[-1].error)
        begun = sum(length >= start + 512 for start in headers)
        assert len(rows) == begun + 1
        if begun > whole:
            assert f"the archive ends within the member '{begun}.txt'" == str(rows[-2].error)


def test_one_block_of_an_end_mark_will_do(read):
    data = archive(*texts("1"))
    assert columns_of(read(data[: 1024 + 512])) == [row_of("1")]


@pytest.mark.parametrize("split_bytes", [1, 1500, 1 << 20])
def test_a_damaged_header_makes_the_rest_of_an_archive_a_bad_row(read, split_bytes, monkeypatch):
    monkeypatch.setattr(webdataset, "SPLIT_BYTES", split_bytes)
    data = bytearray(archive(*texts("1", "2", "3", "4")))
    data[2 * 1024 + 10] ^= 1
    rows = read(bytes(data))
    assert columns_of(rows) == [row_of("1"), row_of("2"), None]
    assert errors_of(rows) == {"a.tar/record 3": "no member begins here; what follows cannot be read"}


@pytest.mark.parametrize("split_bytes", [1, 1 << 20])
def test_what_stands_behind_an_end_mark_is_not_lost_silently(read, split_bytes, monkeypatch):
    monkeypatch.setattr(webdataset, "SPLIT_BYTES", split_bytes)
    rows = read(archive(*texts("1", "2")) + archive(*texts("3")))
    assert columns_of(rows) == [row_of("1"), row_of("2"), None]
    assert "continues after its end mark" in errors_of(rows)["a.tar/record 3"]
    zeroed = bytearray(archive(*texts("1", "2", "3")))
    zeroed[1024:1536] = bytes(512)
    assert columns_of(read(bytes(zeroed))) == [row_of("1"), None]


@pytest.mark.parametrize("size", [-512, -5120, 1 << 62, 1 << 70])
def test_a_header_with_an_impossible_size_is_damage(read, size):
    header = bytearray(archive(*texts("2"))[:512])
    header[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 256**11).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    whole = archive(*texts("1"))[:1024]
    rows = read(whole + bytes(header) + whole)
    assert columns_of(rows) == [row_of("1"), None]
    assert "no member begins here" in errors_of(rows)["a.tar/record 2"]


@pytest.mark.parametrize("data", [b"", b"text", b"text" * 1000, b"\x1f\x8b" + bytes(600), os.urandom(512) + bytes(9)])
def test_what_is_no_archive_is_an_error_for_the_user(read, data):
    with pytest.raises(MmstreamError, match=r"a\.tar is not a tar archive"):
        read(data)


def test_what_is_said_to_be_packed_and_is_not_is_an_error_for_the_user(read):
    with pytest.raises(MmstreamError, match=r"cannot read .*a\.tgz: Not a gzipped file"):
        read(archive(*texts("1")), "a.tgz")


def test_an_archive_without_members_gives_no_rows(read):
    assert read(archive()) == []
    assert read(archive(member("folder", type=tarfile.DIRTYPE), (".hidden", b"x"))) == []


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "A.TAR.GZ"])
def test_packed_archives_are_read_in_one_piece(read, tmp_path, monkeypatch, name):
    monkeypatch.setattr(webdataset, "SPLIT_BYTES", 1)
    assert columns_of(read(gzip.compress(archive(*texts("1", "2"))), name)) == [row_of("1"), row_of("2")]
    assert len(Webdataset().splits(str(tmp_path / name))) == 1


@pytest.mark.parametrize("content", [os.urandom(100_000), b"".join(b"%d," % n for n in range(100_000))])
@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_a_packed_archive_that_is_damaged_is_an_error_that_names_it(read, damage, content):
    data = gzip.compress(archive(*texts("1"), ("2.bin", content), *texts("3")))
    half = len(data) // 2
    with pytest.raises(MmstreamError, match=r"cannot read .*a\.tar\.gz"):
        read(data[:half] if damage == "cut off" else data[:half] + bytes(300) + data[half + 300 :], "a.tar.gz")


def test_a_large_archive_is_cut_between_records(tmp_path, monkeypatch):
    path = tmp_path / "a.tar"
    path.write_bytes(archive(*((f"{n // 2}.{'txt' if n % 2 else 'cls'}", b"x") for n in range(100))))
    monkeypatch.setattr(webdataset, "SPLIT_BYTES", 10 * 1024)
    splits = Webdataset().splits(str(path))
    assert [split.rows for split in splits] == [5] * 10
    assert [split.first for split in splits] == list(range(1, 51, 5))
    assert [split.start for split in splits] == [number * 10 * 1024 for number in range(10)]


NAMES = st.builds("{}{}{}".format, st.sampled_from(["", "a/", ".b/"]), st.sampled_from("123"), st.sampled_from(
    ["", ".txt", ".jpg", ".json"]
))  # fmt: skip
KINDS = [tarfile.REGTYPE, tarfile.REGTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.lists(
        st.tuples(NAMES, st.binary(max_size=3) | st.just(b"x" * 1500), st.sampled_from(KINDS)), max_size=8
    ),
    kind=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    split_bytes=st.sampled_from([1, 600, 1500, 3000]),
    damage=st.none() | st.integers(512, 12_000),
    length=st.none() | st.integers(512, 12_000),
)
def test_where_an_archive_is_cut_never_changes_its_rows(tmp_path, members, kind, split_bytes, damage, length):
    members = [member(name, data, type=of) for name, data, of in members]
    data = bytearray(archive(*texts("0"), *members, kind=kind))
    if damage is not None and damage < len(data):
        data[damage] ^= 1
    path = tmp_path / "a.tar"
    path.write_bytes(data[:length])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MAX_ROW_BYTES", 1000)
        whole = comparable(rows_of(str(path)))
        patch.setattr(webdataset, "SPLIT_BYTES", split_bytes)
        assert comparable(rows_of(str(path))) == whole


def header(kind: bytes, size: int, name: str = "././@LongLink") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def extended(kind: bytes, content: bytes) -> bytes:
    return header(kind, len(content)) + content + bytes(-len(content) % 512)


LARGE = 3_000_000
TOO_LONG = "has headers of more than 1,048,576 bytes"


def pax_line(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    length += len(str(length + len(str(length))))
    return b"%d %s=%s\n" % (length, key, value)


@pytest.mark.parametrize("split_bytes", [1, 1 << 20])
@pytest.mark.parametrize(
    "before",
    [
        extended(tarfile.GNUTYPE_LONGNAME, b"x" * LARGE + b"\0"),
        extended(tarfile.GNUTYPE_LONGLINK, b"x" * LARGE + b"\0"),
        extended(tarfile.XHDTYPE, pax_line(b"comment", b"x" * LARGE)),
        extended(tarfile.SOLARIS_XHDTYPE, pax_line(b"path", b"x" * LARGE)),
        extended(tarfile.XHDTYPE, pax_line(b"GNU.sparse.map", b"1," * LARGE)),
        extended(tarfile.XHDTYPE, b"".join(pax_line(b"k%d" % n, b"x") for n in range(200_000))),
        extended(tarfile.GNUTYPE_LONGNAME, b"x" * 2_000 + b"\0") * 1_000,  # tarfile would call itself for each
    ],
    ids=["name", "link", "comment", "path", "holes", "keys", "chain"],
)
def test_a_member_of_too_large_headers_makes_its_record_a_bad_row_alone(read, before, split_bytes, monkeypatch):
    monkeypatch.setattr(webdataset, "SPLIT_BYTES", split_bytes)
    (one, two, three) = (archive(*texts(stem))[:1024] for stem in "123")
    rows = read(one + before + two + three + bytes(1024))
    assert columns_of(rows) == [row_of("1"), None, row_of("3")]
    assert errors_of(rows) == {"a.tar/2": f"the member '2.txt' {TOO_LONG}"}


@pytest.mark.parametrize("split_bytes", [1, 1 << 20])
def test_global_headers_are_passed_over_however_large_and_many_they_are(read, split_bytes, monkeypatch):
    monkeypatch.setattr(webdataset, "SPLIT_BYTES", split_bytes)
    many = b"".join(extended(tarfile.XGLTYPE, pax_line(b"k%d" % n, b"x" * 2_000)) for n in range(2_000))
    large = extended(tarfile.XGLTYPE, pax_line(b"path", b"x" * LARGE))
    (one, two) = (archive(*texts(stem))[:1024] for stem in "12")
    assert columns_of(read(many + one + large + two + bytes(1024))) == [row_of("1"), row_of("2")]


def test_a_member_whose_holes_fill_many_blocks_is_a_bad_row_alone(read):
    hole = bytearray(header(tarfile.GNUTYPE_SPARSE, 512, "2.bin"))
    hole[482] = 1
    hole[148:156] = b" " * 8
    hole[148:156] = b"%06o\0 " % sum(hole)
    more = bytearray(512)
    more[504] = 1
    (one, three) = (archive(*texts(stem))[:1024] for stem in "13")
    rows = read(one + bytes(hole) + bytes(more) * 20_000 + bytes(512) + bytes(512) + three + bytes(1024))
    assert columns_of(rows) == [row_of("1"), None, row_of("3")]
    assert errors_of(rows) == {"a.tar/2": "the member '2.bin' is not a plain file"}


def test_a_record_of_too_many_bytes_in_all_is_a_bad_row_alone(read, monkeypatch):
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", 3_000)
    members = [(f"2.{number}", bytes(600)) for number in range(40)]
    rows = read(archive(*texts("1"), *members, *texts("3")))
    assert columns_of(rows) == [row_of("1"), None, row_of("3")]
    assert errors_of(rows) == {
        "a.tar/2": "the member '2.4' and those before it have more than 3,000 bytes, which is too many for one record"
    }
    assert len(rows[1].raw) < 30


def test_a_record_of_too_many_members_or_columns_is_a_bad_row_alone(read, monkeypatch):
    monkeypatch.setattr(limits, "MAX_COLUMNS", 50)
    members = [(f"2.{number}", b"x") for number in range(60)]
    three = [(f"3.{letter}.json", b"{}") for letter in "ab"] + [
        ("3.json", json.dumps({str(n): n for n in range(49)}).encode())
    ]
    rows = read(archive(*texts("1"), *members, *three, *texts("4")))
    assert columns_of(rows) == [row_of("1"), None, None, row_of("4")]
    assert errors_of(rows) == {
        "a.tar/2": "the member '2.50' is one of more than 50 members, which is too many for one record",
        "a.tar/3": "the record has 52 columns; the limit is 50",
    }


def test_a_json_member_of_too_many_values_is_a_bad_row_alone(read):
    rows = read(archive(*texts("1"), ("2.json", b"[" + b"[]," * 600_000 + b"1]"), *texts("3")))
    assert columns_of(rows) == [row_of("1"), None, row_of("3")]
    assert "the JSON holds 1,200,001 values or more" in errors_of(rows)["a.tar/2"]


def test_all_archives_of_a_folder_or_a_pattern_are_read_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "0.tar").write_bytes(archive(*texts("1")))
    (tmp_path / "b" / "1.tgz").write_bytes(gzip.compress(archive(*texts("2"))))
    (tmp_path / "notes.txt").write_text("no archive")
    expected = [Row("0.tar/1", row_of("1")), Row("b/1.tgz/2", row_of("2"))]
    assert rows_of(str(tmp_path)) == expected
    assert rows_of(str(tmp_path / "**" / "*.t*[rz]")) == expected
    with pytest.raises(MmstreamError, match="no file matches"):
        Webdataset().splits(str(tmp_path / "*.tgz"))


def test_archives_on_another_filesystem_are_read_through_beam(memory_files, monkeypatch):
    monkeypatch.setattr(webdataset, "SPLIT_BYTES", 1)
    memory_files["memory://bucket/shards/0.tar"] = archive(("1.jpg", JPG), ("1.txt", b"1"), *texts("2"))[: 4 * 1024]
    memory_files["memory://bucket/shards/1.tar.gz"] = gzip.compress(archive(("3.json", json.dumps({"n": 1}).encode())))
    rows = rows_of("memory://bucket/shards")
    assert [row.origin for row in rows] == ["0.tar/1", "0.tar/2", "1.tar.gz/3"]
    assert columns_of(rows) == [{**row_of("1"), "image": JPG}, row_of("2"), {"__key__": "3", "n": 1}]
    assert comparable(rows_of("memory://bucket/shards/*.tar")) == comparable(rows[:2])


APART = "are not adjacent in the archive, but they must be; recreate the archive with `tar --sort=name`"


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_record_whose_members_lie_apart_is_never_read_in_part(read, name, monkeypatch):
    members = [("0.txt", b"0"), ("1.txt", b"1"), ("0.cls", b"x"), ("2.txt", b"2"), ("0.json", b"{}"), ("3.txt", b"3")]
    data = archive(*members)
    for split_bytes in (1, 1 << 20):
        monkeypatch.setattr(webdataset, "SPLIT_BYTES", split_bytes)
        rows = read(data if name == "a.tar" else gzip.compress(data), name)
        assert [row.origin for row in rows] == [f"{name}/{stem}" for stem in "0123"]
        assert columns_of(rows) == [None, row_of("1"), row_of("2"), row_of("3")]
        assert errors_of(rows) == {f"{name}/0": f"members of the record '0' {APART}"}


def test_an_archive_of_nothing_but_such_records_is_refused(read):
    kinds = [("json", b"{}"), ("png", PNG)]
    data = archive(*((f"{stem}.{suffix}", content) for suffix, content in kinds for stem in range(3)))
    with pytest.raises(MmstreamError, match=r"a\.tar: members of the record '0' are not adjacent .* `tar --sort=name`"):
        read(data)


def test_such_a_record_may_lie_in_an_archive_that_is_cut_off(read):
    data = archive(*texts("1", "2"), ("1.cls", b"x"), ("3.txt", b"3"))
    rows = read(data[: 7 * 512])
    assert [row.origin for row in rows] == ["a.tar/1", "a.tar/2", "a.tar/3", "a.tar/record 4"]
    assert "are not adjacent in the archive" in str(rows[0].error)
    assert rows[1].columns == row_of("2")


def test_an_archive_of_too_many_records_is_refused(read, monkeypatch):
    monkeypatch.setattr(stems, "MOST_RECORDS", 2)
    assert len(read(archive(*texts("1", "2")))) == 2
    with pytest.raises(MmstreamError, match="more than 2 records; divide it into several archives"):
        read(archive(*texts("1", "2", "3")))


@pytest.mark.parametrize(
    "names",
    [
        ["22.00.json", "22.00.png", "22.01.json", "22.01.png"],
        ["22.05.json", "22.05.png"],
        ["j.doe.json", "j.doe.png", "j.poe.json", "j.poe.png", "j.roe.json", "j.roe.png"],
    ],
)
def test_members_that_seem_to_have_stems_with_dots_are_not_one_record(read, names):
    members = [(name, b"{}") for name in names]
    rows = read(archive(*members, *texts("1")))
    assert "a stem ends at the first dot of a name" in str(rows[0].error)
    assert rows[1].columns == row_of("1")
    with pytest.raises(MmstreamError, match="a stem ends at the first dot of a name"):
        read(archive(*members))


@pytest.mark.parametrize(
    "names",
    [
        ["1.left.jpg", "1.right.jpg", "1.json"],
        ["1.left.jpg", "1.left.npy", "1.right.jpg", "1.right.npy"],
        ["1.0.jpg", "1.1.jpg", "1.2.jpg"],
        ["1.seg.nii.gz", "1.nii.gz"],
    ],
)
def test_members_of_one_record_may_have_dots_in_their_suffixes(read, names):
    (row,) = read(archive(*((name, b"{}") for name in names)))
    assert row.error is None


def test_apple_double_files_and_folders_beside_records_are_no_records(read, tmp_path):
    data = archive(
        ("./d/._1.png", b"\0\5\x16\7"), ("./d/1.txt", b"d/1"), ("__MACOSX/d/._1.png", b"x"), (".DS_Store", b"x")
    )
    assert columns_of(read(data)) == [row_of("d/1")]
    source = Webdataset()
    source.splits(str(tmp_path / "a.tar"))
    names = ("a.tar/d/._1.png", "a.tar/__MACOSX/d/._1.png", "a.tar/.DS_Store")
    assert source.passed_over == (PassedOver("hidden", 3, names),)
