"""Tables as spreadsheets, scripts and people leave them: read, or a row with one error."""

from __future__ import annotations

import pickle

import pytest
from mmstream_io import csv
from mmstream_io.csv import Csv
from mmstream_io.jsonl import Jsonl

from mmstream.errors import MmstreamError
from mmstream.interfaces import Row

ROWS = [{"id": "1", "text": "a b"}, {"id": "2", "text": "c d"}]


def read(path, data: bytes) -> list[Row]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return rows_of(path)


def rows_of(path, source=None) -> list[Row]:
    source = source or Csv()
    splits = pickle.loads(pickle.dumps(source.splits(str(path))))
    return [row for split in splits for row in source.read(split)]


@pytest.mark.parametrize(
    "data",
    [
        b"id, text\n1, a b\n2, c d\n",
        b'id , text\n1 , "a b"\n2,c d \n',
        b"sep=;\r\nid;text\r\n1;a b\r\n2;c d\r\n",
        b'"sep=|"\nid|text\n1|a b\n2|c d\n',
        b"# exported 2024-01-01\nid,text\n1,a b\n2,c d\n",
        b"# one, two\n#\n# three\nid,text\n1,a b\n2,c d\n",
        b"id,text\n1,a b,\n2,c d,,\n",
        "id,text\r\n1,a b\r\n2,c d\r\n".encode("utf-16"),
        "id;text\n1;a b\n2;c d\n".encode("utf-16-be"),
        "id\ttext\n1\ta b\n2\tc d\n".encode("utf-16-le"),
        "\ufeffid,text\n1,a b\n2,c d".encode(),
    ],
)
def test_a_table_is_read_whatever_stands_around_it(tmp_path, data):
    assert [row.columns for row in read(tmp_path / "rows.csv", data)] == ROWS


def test_lines_keep_their_numbers_behind_what_is_no_row(tmp_path):
    rows = read(tmp_path / "rows.csv", b"# exported\nsep\n1\n")
    assert rows == [Row("rows.csv:3", {"sep": "1"})]
    assert read(tmp_path / "rows.csv", b"sep=;\na;b\n1;2\n")[0].origin == "rows.csv:3"


def test_names_that_begin_with_a_hash_are_names(tmp_path):
    assert read(tmp_path / "rows.csv", b"#id,text\n1,a\n") == [Row("rows.csv:2", {"#id": "1", "text": "a"})]


def test_a_column_without_a_name_is_called_by_its_place(tmp_path):
    rows = read(tmp_path / "rows.csv", b",text,,\n0,a,,\n1,b,,x\n")
    assert rows[1].columns == {"Unnamed: 0": "1", "text": "b", "Unnamed: 2": None, "Unnamed: 3": "x"}


def test_a_column_without_a_name_takes_none_that_another_has(tmp_path):
    rows = read(tmp_path / "rows.csv", b",Unnamed: 0,text,\n0,1,a,\n")
    assert rows[0].columns == {"Unnamed: 0.1": "0", "Unnamed: 0": "1", "text": "a", "Unnamed: 3": None}
    rows = read(tmp_path / "rows.csv", b",Unnamed: 0,Unnamed: 0.1\n0,1,2\n,Unnamed: 0,Unnamed: 0.1\n")
    assert rows[0].columns == {"Unnamed: 0.2": "0", "Unnamed: 0": "1", "Unnamed: 0.1": "2"}
    assert str(rows[1].error) == "the line repeats the names of the columns"


def test_a_column_that_is_named_twice_is_refused_still(tmp_path):
    with pytest.raises(MmstreamError, match="names a column twice: 'Unnamed: 0'"):
        read(tmp_path / "rows.csv", b",Unnamed: 0,Unnamed: 0\n1,0,2\n")


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (b"PAR1\x15\x04\n,", "is not CSV but Parquet; rename it to end in .parquet, or set `use: parquet` in `source`"),
        (b"PK\x03\x04\x14\0", "is not CSV but a zip archive, such as Excel's .xlsx; export the table as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "an Excel workbook"),
        (b"\x1f\x8b\x08\0", "is not CSV but gzip; rename it to end in .gz"),
        (b"<!doctype html>\n<html>\n", "is not CSV but a web page"),
    ],
)
@pytest.mark.parametrize("parameters", [{}, {"encoding": "latin-1"}, {"names": ["a"]}])
def test_a_file_of_another_kind_is_told_by_what_it_holds(tmp_path, begin, message, parameters):
    (tmp_path / "rows.csv").write_bytes(begin)
    with pytest.raises(MmstreamError, match=message):
        rows_of(tmp_path / "rows.csv", Csv(**parameters))


def test_a_first_line_of_another_encoding_says_which_to_set(tmp_path):
    data = "".join(f"{row}\n" for row in ["Größe;Tür", *["schön;grün"] * 9])
    with pytest.raises(
        MmstreamError, match=r"which names the columns, is not utf-8: set `encoding` in `source`, likely to c"
    ):
        read(tmp_path / "rows.csv", data.encode("cp1252"))
    with pytest.raises(MmstreamError, match=r"is not utf-8: repair that line, or set `encoding` in `source`"):
        read(tmp_path / "rows.csv", "Größe;Tür\n".encode("cp1252") + "schön;grün\n".encode() * 9)
    (tmp_path / "rows.csv").write_bytes(data.replace("ö", "ÿ").encode("cp1252"))
    with pytest.raises(MmstreamError, match=r"is not cp932: set `encoding` in `source`, likely to cp1252"):
        rows_of(tmp_path / "rows.csv", Csv(encoding="cp932"))


def test_blanks_of_a_table_without_blanks_around_its_names_stay(tmp_path):
    assert read(tmp_path / "rows.csv", b"id,text\n1, a\n")[0].columns == {"id": "1", "text": " a"}


def test_a_line_that_says_the_names_again_is_no_record(tmp_path):
    data = "id,text\n1,a b\n\ufeffid,text\nid,text\n2,c d\n".encode()
    rows = read(tmp_path / "rows.csv", data)
    assert [row.columns for row in rows] == [ROWS[0], None, None, ROWS[1]]
    assert str(rows[2].error) == "the line repeats the names of the columns"


def test_line_ends_of_old_macs_are_named(tmp_path):
    with pytest.raises(MmstreamError, match=r"names no columns: a carriage return is in the middle of the line"):
        read(tmp_path / "rows.csv", b"id,text\r1,a b\r2,c d\r")


def test_what_begins_as_utf_16_and_is_none_is_named(tmp_path):
    with pytest.raises(MmstreamError, match="begins like UTF-16 but is not"):
        read(tmp_path / "rows.csv", b"\xff\xfei\0d\0\n\0\x00\xd8\n\0")


def test_a_large_table_in_utf_16_is_one_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(csv, "SPLIT_BYTES", 10)
    path = tmp_path / "rows.csv"
    path.write_bytes("id,text\n1,a b\n2,c d\n".encode("utf-16"))
    assert len(Csv().splits(str(path))) == 1
    assert [row.columns for row in rows_of(path)] == ROWS


def test_pieces_of_a_padded_table_with_comments_are_read_as_the_whole(tmp_path, monkeypatch):
    data = b"# made by hand\nid, text\n" + b"".join(b'%d, "a, %d"\n' % (n, n) for n in range(40))
    whole = read(tmp_path / "rows.csv", data)
    monkeypatch.setattr(csv, "SPLIT_BYTES", 50)
    assert len(Csv().splits(str(tmp_path / "rows.csv"))) > 4
    assert rows_of(tmp_path / "rows.csv") == whole
    assert whole[7].columns == {"id": "7", "text": "a, 7"}


def test_folders_called_key_and_value_are_columns(tmp_path):
    for place, data in (("y=1/m=a%20b/x.csv", b"id,y\n1,\n"), ("y=2/m=__HIVE_DEFAULT_PARTITION__/x.csv", b"id\n2\n")):
        read(tmp_path / "csv" / place, data)
    rows = [row.columns for row in rows_of(tmp_path / "csv")]
    assert rows == [{"y": None, "m": "a b", "id": "1"}, {"y": "2", "m": None, "id": "2"}]
    (tmp_path / "jsonl" / "y=1").mkdir(parents=True)
    (tmp_path / "jsonl" / "y=1" / "x.jsonl").write_text('{"id": 1}\n[]\n')
    assert [row.columns for row in rows_of(tmp_path / "jsonl", Jsonl())] == [{"y": "1", "id": 1}, None]


def test_a_first_line_that_cannot_be_names_says_what_to_do(tmp_path):
    with pytest.raises(MmstreamError, match="names a column twice: '0'; if it is a row, set `names` in `source`"):
        read(tmp_path / "rows.csv", b"7,0,0\n1,0,2\n")
