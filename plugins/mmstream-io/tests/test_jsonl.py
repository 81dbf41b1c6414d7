"""JSON Lines: every line is a row or says why it is none, and where it stands."""

from __future__ import annotations

import gzip
import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mmstream_io import conversion, jsonl, limits
from mmstream_io.jsonl import Jsonl, JsonlSink

from mmstream.errors import MmstreamError
from mmstream.interfaces import Row, Split

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@pytest.fixture
def read(tmp_path):
    """Write bytes to a file and read them as a job does, split by split."""

    def write_and_read(data: bytes) -> list[Row]:
        path = tmp_path / "rows.jsonl"
        path.write_bytes(data)
        return rows_of(str(path))

    return write_and_read


def rows_of(path: str) -> list[Row]:
    source = Jsonl()
    splits = pickle.loads(pickle.dumps(source.splits(path)))
    rows = [list(source.read(split)) for split in splits]
    assert [split.rows for split in splits] == [len(found) for found in rows]
    return [row for found in rows for row in found]


def errors_of(rows: list[Row]) -> list[tuple[str, str | None]]:
    return [(row.origin, str(row.error) if row.error else None) for row in rows]


def test_each_line_is_a_row_that_says_where_it_stands(read):
    assert read(b'{"a": 1}\n{"a": "\xe7\x8c\xab"}\n') == [
        Row("rows.jsonl:1", {"a": 1}),
        Row("rows.jsonl:2", {"a": "猫"}),
    ]


def test_the_last_line_needs_no_newline(read):
    assert [row.columns for row in read(b'{"a": 1}\n{"a": 2}')] == [{"a": 1}, {"a": 2}]


DEEP = "[" * 90 + "]" * 90
LARGE = [
    "[" + "[]," * 600_000 + "[]]",
    "[" + "{}," * 600_000 + "1]",
    "[" + "1," * 1_100_000 + "1]",
    '[{"a":{}}' + ',{"a":{}}' * 300_000 + "]",
    "[" + '"",' * 1_100_000 + '""]',
    "[" + DEEP + f",{DEEP}" * 12_000 + "]",
    '["' + '","' * 2_200_000 + '"]',
    "{" + ",".join(f'"{number}":0' for number in range(600_000)) + "}",
]


@pytest.mark.parametrize("value", LARGE)
def test_a_line_of_too_many_values_is_refused_before_they_are_made(read, value, monkeypatch):
    made = []
    decode = conversion._JSON.decode
    monkeypatch.setattr(conversion._JSON, "decode", lambda text: made.append(len(text)) or decode(text))
    rows = read(f'{{"a": 1}}\n{{"a": {value}}}\n{{"a": 2}}\n'.encode())
    assert [row.columns for row in rows] == [{"a": 1}, None, {"a": 2}]
    assert "values or more; the limit is 1,048,576" in str(rows[1].error)
    assert max(made) < 100


def test_signs_within_texts_are_no_values(read):
    text = r'[1,2]:{\\"' + "," * 2_000_000 + "\\\\"
    (row,) = read(json.dumps({"a": text, "b": [text]}).encode())
    assert row.columns == {"a": text, "b": [text]}


def test_an_object_of_too_many_keys_is_refused_wherever_it_stands(read):
    keys = ",".join(f'"{number}":0' for number in range(20_000))
    for line in (f"{{{keys}}}", f'{{"a":[{{{keys}}}]}}'):
        assert str(read(line.encode())[0].error) == "a JSON object has 20,000 keys; the limit is 16,384"


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("x" * 90, True),
        ("x" * 90 + "猫", False),
        ("x" * 30 + "猫", True),
        ("x" * 30 + "😀", False),
        ("x" * 20 + "😀", True),
        ("é" * 45, True),
        ("x" * 75 + r"\ud83d\ude00", False),
        ("x" * 75 + r"\u00e9", False),
        (r"\u732b" * 20, True),
        (r"\ud83d\ude00" * 10, True),
    ],
)
def test_a_text_that_would_take_up_too_much_memory_is_refused(read, monkeypatch, text, fits):
    monkeypatch.setattr(limits, "MAX_TEXT_BYTES", 140)
    good, row = read(f'{{"a": 1}}\n{{"a": "{text}"}}'.encode())
    assert good.columns == {"a": 1}
    assert (row.error is None) == fits
    assert fits or "bytes of memory; the limit is 140" in str(row.error)


def test_blank_lines_are_passed_over_but_counted(read):
    rows = read(b'\n  \t\n{"a": 1}\r\n\r\n\n{"a": 2}\n\n')
    assert [(row.origin, row.columns) for row in rows] == [("rows.jsonl:3", {"a": 1}), ("rows.jsonl:6", {"a": 2})]


def test_windows_line_ends_belong_to_no_value(read):
    assert [row.columns for row in read(b'{"a": "x"}\r\n{"a": "y"}\r\n')] == [{"a": "x"}, {"a": "y"}]


@pytest.mark.parametrize("after", [b"", b"\n", b"\r\n", b" \n\n"])
def test_a_byte_order_mark_is_passed_over(read, after):
    rows = read(BYTE_ORDER_MARK + after + b'{"a": 1}\n')
    assert [row.columns for row in rows] == [{"a": 1}]
    assert rows[0].origin == f"rows.jsonl:{1 + after.count(10)}"


def test_a_byte_order_mark_further_down_is_an_error(read):
    assert read(b'{"a": 1}\n' + BYTE_ORDER_MARK + b'{"a": 2}\n')[1].error


@pytest.mark.parametrize("data", [b"", b"\n\n  \n", BYTE_ORDER_MARK, BYTE_ORDER_MARK + b"\n"])
def test_a_file_without_rows_gives_none(read, data):
    assert read(data) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1', "Expecting ',' delimiter"),
        (b"{'a': 1}", "property name enclosed in double quotes"),
        (b'{"a": 1} {"b": 2}', "Extra data"),
        (b'{"a": "\xff"}', "invalid start byte"),
        (b'{"a": "\xed\xa0\x80"}', "invalid continuation byte"),  # a surrogate, which UTF-8 does not have
        (b'{"a": "x\x00y"}', "Invalid control character"),
        (b"\x00\x00\x00", "Expecting value"),
        ('{"a": 1}'.encode("utf-16"), "invalid start byte"),
        (b"[1, 2]", "expected a JSON object; found list"),
        (b'"text"', "expected a JSON object; found str"),
        (b"null", "expected a JSON object; found NoneType"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice"),
        (b'{"x": {"b": 2, "b": 2}}', "the key 'b' occurs twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is not JSON"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "integer"),
    ],
    ids=lambda value: None if isinstance(value, str) else value[:12].hex(),
)
def test_a_bad_line_says_what_is_wrong_and_costs_no_other(read, line, message):
    good, bad, after = read(b'{"good": 1}\n' + line + b'\n{"good": 2}\n')
    assert (good.columns, after.columns) == ({"good": 1}, {"good": 2})
    assert (bad.origin, bad.columns, after.origin) == ("rows.jsonl:2", None, "rows.jsonl:3")
    assert isinstance(bad.error, ValueError)
    assert message in str(bad.error)


def test_a_bad_line_is_kept_as_text_where_it_is_text_so_that_it_can_be_mended(read):
    text, data = read('{"a": "猫"\r\n'.encode() + b"\xff{}\n")
    assert (text.raw, data.raw) == ('{"a": "猫"', b"\xff{}")


def test_values_come_as_json_has_them(read):
    (row,) = read(rb'{"t": true, "n": null, "i": 12, "f": 0.5, "l": ["\u732b"], "s": "\ud800", "": ""}')
    assert row.columns == {"t": True, "n": None, "i": 12, "f": 0.5, "l": ["猫"], "s": "\ud800", "": ""}


def test_a_line_that_is_too_long_is_an_error_of_its_own(read, monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 20)
    fits = b'{"a": "' + b"x" * 11 + b'"}'
    assert len(fits) == 20
    rows = read(fits + b'\n{"a": "' + b"x" * 5_000 + b'"}\n' + fits + b"\n" + fits + b" ")
    assert [row.columns is not None for row in rows] == [True, False, True, False]
    assert errors_of(rows)[1] == ("rows.jsonl:2", "the line is longer than 20 bytes")
    assert rows[1].raw == b'{"a": "' + b"x" * 14
    assert rows[2].origin == "rows.jsonl:3"


def test_an_object_of_very_many_keys_that_says_the_last_one_twice_is_refused_at_once(read):
    keys = [f'"{number}": 0' for number in range(16_000)]
    (row,) = read("{{{}, {}}}".format(", ".join(keys), keys[-1]).encode())
    assert str(row.error) == "the key '15999' occurs twice"


def test_lines_keep_their_numbers_across_splits(read, monkeypatch):
    monkeypatch.setattr(jsonl, "SPLIT_BYTES", 40)
    lines = ["" if number % 7 == 0 else json.dumps({"number": number}) for number in range(1, 101)]
    lines[49] = "broken"
    rows = read("\n".join(lines).encode())
    assert [row.origin for row in rows] == [f"rows.jsonl:{number}" for number in range(1, 101) if number % 7]
    assert all(row.origin == f"rows.jsonl:{row.columns['number']}" for row in rows if row.columns)
    assert [row.origin for row in rows if row.error] == ["rows.jsonl:50"]


def test_a_large_file_is_cut_at_line_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "SPLIT_BYTES", 100)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 100)
    splits = Jsonl().splits(str(path))
    assert {split.rows for split in splits} == {12, 4}
    assert [split.first for split in splits] == list(range(1, 101, 12))
    assert [split.start for split in splits[1:]] == [split.end for split in splits[:-1]]
    assert splits[-1].end == path.stat().st_size


PIECES = st.sampled_from(
    [b'{"a": 1}', b'{"a": "\xe7\x8c\xab"}', b"broken", b"\xff\xfe", b"\n", b"\r\n", b"\r", b" ", b"\t", BYTE_ORDER_MARK]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(PIECES, max_size=40).map(b"".join), split_bytes=st.integers(1, 60))
@example(data=BYTE_ORDER_MARK + b'\n{"a": 1}', split_bytes=1)
def test_where_a_file_is_cut_never_changes_its_rows(tmp_path, data, split_bytes):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    whole = rows_of(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "SPLIT_BYTES", split_bytes)
        patch.setattr(jsonl, "MAX_LINE_BYTES", 10_000)
        cut = rows_of(str(path))
    assert [row[:3] for row in cut] == [row[:3] for row in whole]
    assert errors_of(cut) == errors_of(whole)
    lines = data.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    assert [row.origin for row in cut] == [
        f"rows.jsonl:{number}" for number, line in enumerate(lines, 1) if line.strip(b" \t\r")
    ]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text() | st.floats(-1, 1))))
def test_what_python_writes_as_json_comes_back(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert [row.columns for row in rows_of(str(path))] == rows


def test_what_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(MmstreamError, match=r"there is no .*missing\.jsonl"):
        Jsonl().splits(str(tmp_path / "missing.jsonl"))
    with pytest.raises(MmstreamError, match="holds no file that the source 'jsonl' reads"):
        Jsonl().splits(str(tmp_path))
    with pytest.raises(MmstreamError, match="no file matches"):
        Jsonl().splits(str(tmp_path / "*.jsonl"))


def test_all_files_of_a_folder_or_a_pattern_are_read_in_order_and_unpacked(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "b" / "a.ndjson.gz").write_bytes(gzip.compress(b'{"a": 2}\n\n{"a": 3}\n'))
    (tmp_path / "notes.txt").write_text("no rows")
    expected = {"a.jsonl:1": {"a": 1}, "b/a.ndjson.gz:1": {"a": 2}, "b/a.ndjson.gz:3": {"a": 3}}
    assert {row.origin: row.columns for row in rows_of(str(tmp_path))} == expected
    (row,) = rows_of(str(tmp_path / "*.jsonl"))
    assert (row.origin, row.columns) == ("a.jsonl:1", {"a": 1})


@pytest.mark.parametrize(("name", "pieces"), [("rows.jsonl", 3), ("rows.jsonl.gz", 1)])
def test_a_packed_file_is_not_cut_as_it_is_read_from_its_start(tmp_path, monkeypatch, name, pieces):
    monkeypatch.setattr(jsonl, "SPLIT_BYTES", 8)
    data = b'{"a": 2}\n' * 3
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert len(Jsonl().splits(str(tmp_path))) == pieces
    assert len(rows_of(str(tmp_path))) == 3


def test_a_packed_file_that_is_cut_off_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 2}\n' * 1000)[:-20])
    with pytest.raises(MmstreamError, match=r"cannot read .*rows\.jsonl\.gz"):
        Jsonl().splits(str(path))


def test_a_file_name_that_is_not_utf8_gives_origins_that_can_be_written(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    path.write_bytes(b'{"a": 1}\n')
    (row,) = rows_of(str(path))
    assert row == Row("caf\\udce9.jsonl:1", {"a": 1})


def test_a_file_on_another_filesystem_is_read_through_beam(memory_files, monkeypatch):
    monkeypatch.setattr(jsonl, "SPLIT_BYTES", 10)
    memory_files["memory://bucket/deep/rows.jsonl"] = b'{"a": 1}\nbroken\n{"a": 2}\n{"a": 3}'
    rows = rows_of("memory://bucket/deep/rows.jsonl")
    assert [row.columns for row in rows] == [{"a": 1}, None, {"a": 2}, {"a": 3}]
    assert [row.origin for row in rows] == [f"rows.jsonl:{number}" for number in (1, 2, 3, 4)]
    assert len(Jsonl().splits("memory://bucket/deep/rows.jsonl")) > 1


def test_a_missing_file_on_another_filesystem_is_an_error_that_names_it(memory_files):
    with pytest.raises(MmstreamError, match=r"there is no memory://bucket/rows\.jsonl"):
        Jsonl().splits("memory://bucket/rows.jsonl")


def test_a_split_of_no_bytes_has_no_rows(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\n')
    assert list(Jsonl().read(Split(str(tmp_path / "rows.jsonl"), 0))) == []


SCHEMA = {"id": "string", "price": "number", "tags": "strings", "tags_score": "numbers"}


def written(*rows: dict) -> bytes:
    return JsonlSink().dumps(rows, SCHEMA)


def test_a_label_row_is_one_line_whatever_its_texts_hold():
    texts = ["\n", "\r\n", "\x0b\x0c\x1c\x85\u2028\u2029", "\0", '"\\', "猫 🐈", "\ud800"]
    data = written(*({"id": text} for text in texts))
    assert len(data.decode().splitlines()) == len(texts)
    assert [row["id"] for row in JsonlSink().loads(data, SCHEMA)] == texts


def test_label_rows_have_every_column_sorted_and_null_is_not_an_empty_text():
    data = written({"tags": [], "id": ""}, {"price": 0.1})
    assert data == (
        b'{"id": "", "price": null, "tags": [], "tags_score": null}\n'
        b'{"id": null, "price": 0.1, "tags": null, "tags_score": null}\n'
    )


def test_label_rows_are_read_by_the_source(read):
    rows = [{"id": "a\u2028", "price": 1e-300, "tags": ["x", ""], "tags_score": [0.1]}, dict.fromkeys(SCHEMA)]
    assert [row.columns for row in read(written(*rows))] == rows


@given(st.lists(st.tuples(st.text(), st.floats(allow_nan=False), st.lists(st.floats(width=32, allow_nan=False)))))
def test_label_rows_come_back_to_the_bit(rows):
    found = JsonlSink().loads(written(*({"id": i, "price": p, "tags_score": s} for i, p, s in rows)), SCHEMA)
    assert [(row["id"], row["price"], row["tags_score"]) for row in found] == rows


def test_numbers_of_another_type_are_written_alike():
    plain = written({"price": 2.0, "tags_score": [0.25, 1.0]})
    assert written({"price": np.float32(2), "tags_score": np.array([0.25, 1], np.float32)}) == plain
    assert written({"price": 2, "tags_score": [np.float64(0.25), 1]}) == plain
