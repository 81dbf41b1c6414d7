"""Comma-separated values: every row is read or says why it is not, and costs no other."""

from __future__ import annotations

import csv as python_csv
import gzip
import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mmstream_io import conversion, csv, limits, open_quotes
from mmstream_io.csv import Csv
from mmstream_io.csv_sink import CsvSink

from mmstream.errors import MmstreamError
from mmstream.interfaces import Row

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@pytest.fixture
def read(tmp_path):
    """Write bytes to a file and read them as a job does, split by split."""

    def write_and_read(data: bytes, name: str = "rows.csv", **parameters) -> list[Row]:
        path = tmp_path / name
        path.write_bytes(data)
        return rows_of(str(path), **parameters)

    return write_and_read


def rows_of(path: str, **parameters) -> list[Row]:
    source = Csv(**parameters)
    splits = pickle.loads(pickle.dumps(source.splits(path)))
    rows = [list(source.read(split)) for split in splits]
    assert [split.rows for split in splits] == [len(found) for found in rows]
    return [row for found in rows for row in found]


def columns_of(rows: list[Row]) -> list[dict | None]:
    return [row.columns for row in rows]


def comparable(rows: list[Row]) -> list[tuple]:
    return [(row.origin, row.columns, row.raw, str(row.error)) for row in rows]


def test_each_row_has_the_columns_of_the_first_line_and_says_where_it_stands(read):
    assert read("id,text\n1,猫\n2,a b \n".encode()) == [
        Row("rows.csv:2", {"id": "1", "text": "猫"}),
        Row("rows.csv:3", {"id": "2", "text": "a b "}),
    ]


def test_an_empty_cell_is_none_quoted_or_not(read):
    assert columns_of(read(b'a,b,c\n,"",\n')) == [{"a": None, "b": None, "c": None}]
    assert columns_of(read(b'a\n""\n')) == [{"a": None}]


def test_every_cell_is_a_text(read):
    assert columns_of(read(b"a,b,c\n007,NaN,1e3\n")) == [{"a": "007", "b": "NaN", "c": "1e3"}]


def test_a_quoted_cell_may_hold_delimiters_quotes_and_line_ends(read):
    rows = read(b'a,b\n"x, ""y""","1\r\n2\n\n3\r4"\nlast,row\n')
    assert columns_of(rows) == [{"a": 'x, "y"', "b": "1\r\n2\n\n3\r4"}, {"a": "last", "b": "row"}]
    assert [row.origin for row in rows] == ["rows.csv:2", "rows.csv:6"]


def test_a_quote_within_a_cell_without_quotes_is_a_quote(read):
    assert columns_of(read(b'a,b\n5" pipe,x "y" z\n')) == [{"a": '5" pipe', "b": 'x "y" z'}]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_last_row_needs_no_line_end(read, end):
    assert columns_of(read(f"a,b{end}1,2{end}3,4".encode())) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_blank_lines_are_passed_over_but_counted(read):
    rows = read(b"\n\r\na,b\n\n1,2\r\n\r\n\n3,4\n\n")
    assert [(row.origin, row.columns) for row in rows] == [
        ("rows.csv:5", {"a": "1", "b": "2"}),
        ("rows.csv:8", {"a": "3", "b": "4"}),
    ]


@pytest.mark.parametrize("after", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_a_byte_order_mark_belongs_to_no_name(read, after, encoding):
    assert columns_of(read(BYTE_ORDER_MARK + after + b"a,b\n1,2\n", encoding=encoding)) == [{"a": "1", "b": "2"}]
    assert columns_of(read(BYTE_ORDER_MARK + b"1,2\n", names=["a", "b"], encoding=encoding)) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("data", [b"", b"\n\n", BYTE_ORDER_MARK, b"a,b", b"a,b\n", b"a,b\n\n"])
def test_a_file_without_rows_gives_none(read, data):
    assert read(data) == []


@pytest.mark.parametrize("name", ["rows.tsv", "ROWS.TSV"])
def test_tabs_stand_between_the_cells_of_a_tsv(read, name):
    assert columns_of(read(b'a\tb\n1,2\t"3\t4"\n', name)) == [{"a": "1,2", "b": "3\t4"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_first_line_tells_what_stands_between_cells(read, delimiter):
    data = delimiter.join(["id", '"a;;;,,,\t\t\t|||"', "b"]) + "\n" + delimiter.join(["1", "x", "y"]) + "\n"
    assert columns_of(read(data.encode())) == [{"id": "1", "a;;;,,,\t\t\t|||": "x", "b": "y"}]


def test_a_comma_is_meant_where_another_sign_is_no_more_frequent(read):
    assert columns_of(read(b"a;b,c\n1;2,3\n")) == [{"a;b": "1;2", "c": "3"}]
    assert columns_of(read(b"a\n1;2\n")) == [{"a": "1;2"}]
    assert columns_of(read(b"1;2,3\n", names=["a", "b"])) == [{"a": "1;2", "b": "3"}]


def test_a_delimiter_may_be_named_whatever_the_suffix(read):
    assert columns_of(read(b"a;b\n1;2,3\n", delimiter=";")) == [{"a": "1", "b": "2,3"}]
    assert columns_of(read(b"a|b\n1|2\t3\n", "rows.tsv", delimiter="|")) == [{"a": "1", "b": "2\t3"}]
    assert columns_of(read("a¦b\n1¦2\n".encode(), delimiter="¦")) == [{"a": "1", "b": "2"}]


def test_names_may_be_given_where_the_file_has_none(read):
    assert read(b"1,2\n", names=["a", "b"]) == [Row("rows.csv:1", {"a": "1", "b": "2"})]


@pytest.mark.parametrize(("encoding", "text"), [("latin-1", "café"), ("shift_jis", "猫ソ"), ("gb18030", "猫")])
def test_another_encoding_may_be_named(read, encoding, text):
    assert columns_of(read(f"a,b\n{text},2\n".encode(encoding), encoding=encoding)) == [{"a": text, "b": "2"}]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"delimiter": ""}, "delimiter: expected one character"),
        ({"delimiter": "::"}, "delimiter: expected one character"),
        ({"delimiter": '"'}, "delimiter: expected one character"),
        ({"encoding": "no-such"}, "encoding: there is no 'no-such'"),
        ({"encoding": "utf-16"}, "expected one in which a line end is a single byte"),
        ({"encoding": "utf-16-le"}, "expected one in which a line end is a single byte"),
        ({"names": []}, "names: expected one or more names, each of them once"),
        ({"names": ["a", "b", "a"]}, "names: expected one or more names, each of them once"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        Csv(**parameters)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"x", "expected 2 cells; found 1"),
        (b"x,y,z", "expected 2 cells; found 3"),
        (b" ", "expected 2 cells; found 1"),
        (b'"x\ny",z,z', "expected 2 cells; found 3"),
        (b"x,\xff", "invalid start byte"),
        (b'x,"\xff\ny"', "invalid start byte"),
        (b'"x",\xc3', "invalid continuation byte"),
        (b'"x"y,z', "',' expected after '\"'"),
        (b'x,"y" ', "',' expected after '\"'"),
        (b"x,y\rz,z", "a carriage return is in the middle of the line"),
        (b'x,"y', "a quote is opened and never closed"),
    ],
    ids=lambda value: None if isinstance(value, str) else value.hex(),
)
def test_a_bad_row_says_what_is_wrong_and_costs_no_other(read, line, message):
    good, bad, after = read(b"a,b\n1,2\n" + line + b"\n3,4\n")
    assert (good.columns, after.columns) == ({"a": "1", "b": "2"}, {"a": "3", "b": "4"})
    assert (bad.origin, bad.columns, after.origin) == ("rows.csv:3", None, f"rows.csv:{4 + line.count(10)}")
    assert isinstance(bad.error, ValueError)
    assert message in str(bad.error)


@pytest.mark.parametrize(
    "after",
    [
        [b"1,2", b"3,4"],
        [b'1,"x"', b"3,4"],  # the quote that seems to close the cell stands where none may
        [b'1,""', b'3,"x"'],
        [b'"1",2', b'"3",4'],
        [b"1,\xff", b'3,"x"'],
        [b'1,"open as well', b"3,4"],
    ],
)
def test_a_quote_that_is_never_closed_costs_its_own_line_alone(read, after):
    expected = read(b"a,b\n0,open\n" + b"\n".join(after))[1:]
    bad, *rows = read(b'a,b\n0,"open\n' + b"\n".join(after))
    assert (bad.origin, bad.raw, str(bad.error)) == ("rows.csv:2", '0,"open', "a quote is opened and never closed")
    assert comparable(rows) == comparable(expected)


def test_a_quote_that_is_closed_only_far_away_is_taken_for_one_that_never_is(read, monkeypatch):
    monkeypatch.setattr(csv, "MAX_QUOTED_BYTES", 40)
    fits = b'0,"' + b"x\n" * 15 + b'"\n'
    assert columns_of(read(b"a,b\n" + fits)) == [{"a": "0", "b": "x\n" * 15}]
    rows = read(b'a,b\n0,"open\n' + b"1,2\n" * 10 + b'3,4"\n')
    assert [row.origin for row in rows if row.error] == ["rows.csv:2"]
    assert columns_of(rows)[1:] == [{"a": "1", "b": "2"}] * 10 + [{"a": "3", "b": '4"'}]


def test_many_quotes_that_are_never_closed_are_read_in_reasonable_time(read):
    bad, line = b'0,"open\n', b'1,""\n'
    rows = read(b"a,b\n" + (bad + line * 2_000) * 30)
    assert len(rows) == 30 * 2_001
    assert sum(row.error is not None for row in rows) == 30


def test_a_bad_row_is_kept_as_text_where_it_is_text_so_that_it_can_be_mended(read):
    rows = read(b'a,b\n"x\ny",z,z\r\n\xff\n' + "猫".encode() * 1000)
    assert [row.raw for row in rows] == ['"x\ny",z,z', b"\xff", "猫" * 1000]
    assert [row.raw for row in read("a,b\ncafé\n".encode("latin-1"), encoding="latin-1")] == ["café"]


def test_a_line_that_is_too_long_is_an_error_of_its_own(read, monkeypatch):
    monkeypatch.setattr(csv, "MAX_LINE_BYTES", 20)
    fits = b"1," + b"x" * 18
    rows = read(b"a,b\n" + fits + b"\n2," + b"y" * 5_000 + b"\n" + fits + b"\n" + fits + b"z")
    assert [(row.origin, row.columns is not None) for row in rows] == [
        ("rows.csv:2", True),
        ("rows.csv:3", False),
        ("rows.csv:4", True),
        ("rows.csv:5", False),
    ]
    assert str(rows[1].error) == "the line is longer than 20 bytes"
    assert rows[1].raw == "2," + "y" * 19


def test_a_line_that_is_too_long_behind_an_open_quote_costs_neither_the_lines_before_nor_after(read, monkeypatch):
    monkeypatch.setattr(csv, "MAX_LINE_BYTES", 20)
    rows = read(b'a,b\n0,"open\n1,2\n' + b"x" * 100 + b'\n3,"4"\n')
    assert columns_of(rows) == [None, {"a": "1", "b": "2"}, None, {"a": "3", "b": "4"}]
    assert [row.origin for row in rows] == [f"rows.csv:{number}" for number in (2, 3, 4, 5)]


def test_a_long_cell_is_read_whole(read):
    text = "x" * 1_000_000
    assert columns_of(read(f'a,b\n"{text}",\n'.encode())) == [{"a": text, "b": None}]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"a,b,a,c,c\n1,2,3,4,5", "names a column twice: 'a', 'c'"),
        (b"a,\xff\n1,2", "which names the columns, is not utf-8: set `encoding` in `source`, likely to cp1252"),
        (b'a,"b\n1,2', "names no columns: a quote is opened and never closed"),
        (b"a,b\r1,2\r3,4\r", "names no columns: a carriage return"),
    ],
)
def test_a_first_line_that_names_no_columns_is_an_error_for_the_user(read, header, message):
    with pytest.raises(MmstreamError, match=message):
        read(header)


def test_names_of_columns_may_be_quoted_and_hold_line_ends(read):
    assert read(b'"a\nb","c,d"\n1,2\n') == [Row("rows.csv:3", {"a\nb": "1", "c,d": "2"})]


def test_a_first_line_of_too_many_columns_is_refused_with_their_number_and_the_limit(read):
    header = ",".join(f"c{number}" for number in range(60_000))
    with pytest.raises(MmstreamError, match=r"rows\.csv: the first line names 60,000 columns; the limit is 16,384"):
        read(header.encode())
    most = ",".join(f"c{number}" for number in range(16_384))
    assert len(read(f"{most}\n1{most}\n".encode())[0].columns) == 16_384


def test_of_many_columns_that_stand_twice_a_few_are_named(read):
    with pytest.raises(MmstreamError, match="names a column twice") as caught:
        read(",".join(["x" * 500, *(f"c{number}" for number in range(5_000))] * 2).encode())
    assert "'c0'" in str(caught.value)
    assert "and 4,981 more" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_line_of_very_many_delimiters_or_a_very_long_cell_costs_no_other(read, monkeypatch):
    rows = read(b"a,b\n1,2\n" + b"," * 5_000_000 + b"\n3,4\n" + b"," * 20_000 + b"\n5,6\n")
    assert columns_of(rows) == [{"a": "1", "b": "2"}, None, {"a": "3", "b": "4"}, None, {"a": "5", "b": "6"}]
    assert str(rows[1].error) == "the line holds more than the limit of 1,048,576 delimiters"
    assert str(rows[3].error) == "expected 2 cells; found 20001"
    rows = read(b"a,b\n1," + b"x" * (csv.MAX_CELL + 1) + b"\n3,4\n")
    assert columns_of(rows) == [None, {"a": "3", "b": "4"}]
    assert str(rows[0].error) == "a cell is longer than 16,777,216 characters"


def test_a_text_that_would_take_up_too_much_memory_costs_no_other(read, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TEXT_BYTES", 100)
    rows = read("a\n{}\n{}😀\n{}猫\n1\n".format("x" * 90, "x" * 90, "x" * 30).encode())
    assert columns_of(rows) == [{"a": "x" * 90}, None, {"a": "x" * 30 + "猫"}, {"a": "1"}]
    assert str(rows[1].error) == "the text of 95 bytes takes up 368 bytes of memory; the limit is 100"


NEVER_CLOSED = [
    b'a","\n',  # opens a quote whether one is open or not
    b'"\n',
    b'"a\n',
    b'a"",x,"\n',
    b'"""\n',
    b'0,"open\n' + b'1,""\n' * 40,
    b'0,"open\n' + b"1,2\n" * 40,
    b'0,"\n1\n',
]


@pytest.mark.parametrize("line", NEVER_CLOSED)
def test_quotes_that_are_never_closed_are_looked_at_a_bounded_number_of_times(read, monkeypatch, line):
    looked = []
    text_of = conversion.text_of
    monkeypatch.setattr(conversion, "text_of", lambda data, *more: looked.append(len(data)) or text_of(data, *more))
    data = line * (400_000 // len(line))
    rows = read(b"a,b\n" + data)
    assert all(row.columns is None or "open" not in str(row.columns) for row in rows[:100])
    assert sum(looked) < 12 * 2 * len(data)  # once to find the pieces, and once to read them


def test_packed_files_are_unpacked_and_not_cut(read, tmp_path, monkeypatch):
    monkeypatch.setattr(csv, "SPLIT_BYTES", 10)
    lines = b"a\tb\n" + b'1\t"2\n3"\n' * 20 + b"bad\n"
    rows = read(gzip.compress(lines), "rows.tsv.gz")
    assert len(Csv().splits(str(tmp_path))) == 1
    assert columns_of(rows) == [{"a": "1", "b": "2\n3"}] * 20 + [None]
    assert rows[-1].origin == "rows.tsv.gz:42"


def test_a_packed_file_that_is_cut_off_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" * 1000)[:-20])
    with pytest.raises(MmstreamError, match=r"cannot read .*rows\.csv\.gz"):
        Csv().splits(str(path))


def test_what_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(MmstreamError, match=r"there is no .*missing\.csv"):
        Csv().splits(str(tmp_path / "missing.csv"))
    with pytest.raises(MmstreamError, match="holds no file that the source 'csv' reads"):
        Csv().splits(str(tmp_path))
    with pytest.raises(MmstreamError, match="no file matches"):
        Csv().splits(str(tmp_path / "*.csv"))


def test_each_file_of_a_folder_or_a_pattern_has_names_of_its_own(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b" / "a.tsv").write_text("c\n3\n")
    (tmp_path / "b" / "empty.csv").write_text("")
    (tmp_path / "notes.txt").write_text("no rows")
    expected = [Row("a.csv:2", {"a": "1", "b": "2"}), Row("b/a.tsv:2", {"c": "3"})]
    assert rows_of(str(tmp_path)) == expected
    assert rows_of(str(tmp_path / "**" / "a.*")) == expected
    assert rows_of(str(tmp_path / "b" / "?.tsv")) == [Row("a.tsv:2", {"c": "3"})]


def test_files_on_another_filesystem_are_read_through_beam(memory_files, monkeypatch):
    monkeypatch.setattr(csv, "SPLIT_BYTES", 10)
    memory_files["memory://bucket/rows/a.csv"] = b'a,b\n1,"2\n3"\nbad\n4,5\n'
    memory_files["memory://bucket/rows/deep/b.tsv.gz"] = gzip.compress(b"a\tb\n6\t7\n")
    rows = rows_of("memory://bucket/rows")
    assert [row.origin for row in rows] == ["a.csv:2", "a.csv:4", "a.csv:5", "deep/b.tsv.gz:2"]
    assert columns_of(rows) == [{"a": "1", "b": "2\n3"}, None, {"a": "4", "b": "5"}, {"a": "6", "b": "7"}]
    assert comparable(rows_of("memory://bucket/rows/*.csv")) == comparable(rows[:3])
    assert len(Csv().splits("memory://bucket/rows/a.csv")) > 1


def test_a_large_file_is_cut_between_rows(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n" + b'1,"2\n3"\n' * 100)
    monkeypatch.setattr(csv, "SPLIT_BYTES", 80)
    splits = Csv().splits(str(path))
    assert {split.rows for split in splits} == {10}
    assert [split.first for split in splits] == list(range(2, 202, 20))
    assert [split.start for split in splits[1:]] == [split.end for split in splits[:-1]]
    assert (splits[0].start, splits[-1].end) == (4, path.stat().st_size)


PIECES = [b"x", b",", b'"', b'""', b"\n", b"\r\n", b"\r", b" ", b"\xff", b"\xc3", b'1,"', b'",2\n', BYTE_ORDER_MARK]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join),
    split_bytes=st.integers(1, 60),
    quoted_bytes=st.integers(1, 60),
    line_bytes=st.integers(6, 60),
    again=st.sampled_from([(0, 0, 1000), (1, 4, 1000), (16, 4096, 10), (1, 0, 20)]),
    names=st.sampled_from([None, ["a", "b"]]),
)
@example(data=b'"\n\n"', split_bytes=1, quoted_bytes=1, line_bytes=60, again=(16, 4096, 1000), names=None)
def test_where_a_file_is_cut_never_changes_its_rows(
    tmp_path, data, split_bytes, quoted_bytes, line_bytes, again, names
):
    path = tmp_path / "rows.csv"
    path.write_bytes((b"" if names else b"a,b\n") + data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "MAX_QUOTED_BYTES", quoted_bytes)
        patch.setattr(csv, "MAX_LINE_BYTES", line_bytes)
        for name, number in zip(("AGAIN", "AGAIN_BYTES", "LONGEST_BYTES"), again, strict=True):
            patch.setattr(open_quotes, name, number)
        whole = comparable(rows_of(str(path), names=names))
        patch.setattr(csv, "SPLIT_BYTES", split_bytes)
        assert comparable(rows_of(str(path), names=names)) == whole


CELLS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('",;\t\r\n"'), max_size=8)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8)
    ),
    delimiter=st.sampled_from([",", ";", "\t"]),
    quoting=st.sampled_from([python_csv.QUOTE_MINIMAL, python_csv.QUOTE_ALL]),
    split_bytes=st.integers(1, 100),
)
def test_what_python_writes_as_csv_comes_back(tmp_path, rows, delimiter, quoting, split_bytes):
    names = [f"c{number}" for number in range(len(rows[0]))]
    out = io.StringIO()
    python_csv.writer(out, delimiter=delimiter, quoting=quoting).writerows([names, *rows])
    path = tmp_path / "rows.csv"
    path.write_bytes(out.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "SPLIT_BYTES", split_bytes)
        found = columns_of(rows_of(str(path), delimiter=delimiter))
    assert found == [{name: cell or None for name, cell in zip(names, row, strict=True)} for row in rows]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    good=st.lists(st.lists(CELLS.filter(lambda cell: '"' not in cell), min_size=2, max_size=2), max_size=8),
    bad=st.sampled_from([b"x", b"x,y,z", b"\xff,", b'x,"y"z', b'x,"never closed', b'"x\n\xff",y']),
    place=st.integers(0, 8),
)
def test_wherever_a_bad_row_stands_the_others_are_read(tmp_path, good, bad, place):
    def line(row: list[str]) -> bytes:  # a quoted cell would close a quote that is open
        return (",".join("".join(c for c in cell if c not in ",\r\n") for cell in row) + "\n").encode()

    lines = [line(row) for row in good]
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n" + b"".join(lines))
    expected = columns_of(rows_of(str(path)))
    path.write_bytes(b"a,b\n" + b"".join([*lines[:place], bad + b"\n", *lines[place:]]))
    found = columns_of(rows_of(str(path)))
    assert [row for row in found if row is not None] == expected
    assert found.count(None) == 1


SCHEMA = {"id": "string", "price": "number", "tags": "strings", "tags_score": "numbers"}


def written(*rows: dict) -> bytes:
    return CsvSink().dumps(rows, SCHEMA)


def test_label_rows_are_written_with_names_quoted_texts_and_lists_as_json():
    rows = [{"id": 'a "b"', "price": 0.1, "tags": ["x", 'y"'], "tags_score": [0.5, 1.0]}, {"id": "c"}]
    assert written(*rows).decode() == (
        '"id","price","tags","tags_score"\n"a ""b""",0.1,"[""x"", ""y\\""""]","[0.5, 1.0]"\n"c",,,\n'
    )


def test_null_is_told_from_an_empty_text_and_an_empty_list():
    rows = [dict.fromkeys(SCHEMA), {"id": "", "price": 0.0, "tags": [], "tags_score": []}]
    assert CsvSink().loads(written(*rows), SCHEMA) == rows


def test_texts_of_labels_come_back_whatever_they_hold_and_python_reads_them():
    texts = ["\n", "\r\n", "\r", "\x0b\x0c\x1c\x85\u2028\u2029", '"', '","', '""\n""', "猫 🐈", "\0", "null", "[]", " "]
    rows = [{"id": text, "price": None, "tags": [text], "tags_score": None} for text in texts]
    data = written(*rows)
    assert CsvSink().loads(data, SCHEMA) == rows
    names, *lines = python_csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    assert names == list(SCHEMA)
    assert [line[0] for line in lines] == texts
    assert [json.loads(line[2]) for line in lines] == [[text] for text in texts]


def test_label_rows_are_read_by_the_source(read):
    found = read(written({"id": "a\n\u2028b", "price": 1e-300, "tags": ["x"]}, {"id": "c"}))
    assert columns_of(found) == [
        {"id": "a\n\u2028b", "price": "1e-300", "tags": '["x"]', "tags_score": None},
        {"id": "c", "price": None, "tags": None, "tags_score": None},
    ]


def test_a_label_file_of_another_schema_gives_its_other_columns_as_texts():
    data = written({"id": "a", "price": 12.5, "tags": ["x"], "tags_score": [0.5]}, {"id": 'b"'})
    assert CsvSink().loads(data, {"id": "string"}) == [
        {"id": "a", "price": "12.5", "tags": '["x"]', "tags_score": "[0.5]"},
        {"id": 'b"', "price": None, "tags": None, "tags_score": None},
    ]


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False))))
def test_texts_and_numbers_of_labels_come_back_to_the_bit(rows):
    found = CsvSink().loads(written(*({"id": i, "price": p, "tags_score": [p]} for i, p in rows)), SCHEMA)
    assert [(row["id"], row["price"]) for row in found] == rows
    assert [row["tags_score"] for row in found] == [[price] for _, price in rows]


def test_numbers_of_another_type_are_written_alike():
    plain = written({"price": 2.0, "tags_score": [0.25, 1.0]})
    assert written({"price": np.float32(2), "tags_score": np.array([0.25, 1], np.float32)}) == plain
    assert written({"price": 2, "tags_score": [np.float64(0.25), 1]}) == plain
