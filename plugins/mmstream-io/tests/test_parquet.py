"""Parquet: tables of any types are read, damaged ones in part; label rows go into it and come back."""

from __future__ import annotations

import datetime
import decimal
import io
import pickle
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from mmstream_io import parquet
from mmstream_io.parquet import Parquet, ParquetSink

from mmstream.errors import MmstreamError
from mmstream.interfaces import Row

SCHEMA = {"id": "string", "animal": "string", "animal_score": "number", "tags": "strings", "tags_score": "numbers"}
ROWS = [
    {"id": "1", "animal": "猫", "animal_score": 0.1, "tags": ["a", "b"], "tags_score": [0.5, 0.25]},
    {"id": "2", "animal": None, "animal_score": None, "tags": [], "tags_score": []},
    {"id": "", "animal": "x\n\0'\"", "animal_score": float("inf"), "tags": None, "tags_score": None},
]


def test_rows_come_back_as_they_were():
    sink = ParquetSink()
    assert sink.loads(sink.dumps(ROWS, SCHEMA), SCHEMA) == ROWS


STARTS_NO_THREAD = """
import os, sys
from mmstream_io.parquet import Parquet, ParquetSink
path, columns = sys.argv[1], {"id": "string", "tags": "strings"}
data = ParquetSink().dumps([{"id": str(number), "tags": ["a"]} for number in range(500)], columns)
open(path, "wb").write(data)
before = os.listdir("/proc/self/task")
assert len(ParquetSink().loads(data, columns)) == 500
assert len([row for split in Parquet().splits(path) for row in Parquet().read(split)]) == 500
sys.exit(os.listdir("/proc/self/task") != before)
"""


def test_reading_starts_no_thread_which_might_let_go_of_a_buffer_as_the_interpreter_ends(tmp_path):
    subprocess.run([sys.executable, "-c", STARTS_NO_THREAD, tmp_path / "rows.parquet"], check=True)


def test_a_column_that_a_row_lacks_is_null():
    sink = ParquetSink()
    schema = {"id": "string", "tags": "strings"}
    assert sink.loads(sink.dumps([{"id": "1"}], schema), schema) == [{"id": "1", "tags": None}]


def test_the_file_has_the_stated_types_and_order_whatever_the_rows_hold():
    for rows in (ROWS, ROWS[1:2], []):
        table = pyarrow.parquet.read_table(io.BytesIO(ParquetSink().dumps(rows, SCHEMA)))
        assert table.column_names == list(SCHEMA)
        assert [field.type for field in table.schema] == [
            pyarrow.string(),
            pyarrow.string(),
            pyarrow.float64(),
            pyarrow.list_(pyarrow.string()),
            pyarrow.list_(pyarrow.float32()),
        ]
        assert table.num_rows == len(rows)


def test_no_rows_give_a_valid_file_without_rows():
    assert ParquetSink().loads(ParquetSink().dumps([], SCHEMA), SCHEMA) == []


def test_equal_rows_give_equal_bytes():
    shuffled = [dict(reversed(row.items())) for row in ROWS]
    assert ParquetSink().dumps(ROWS, SCHEMA) == ParquetSink().dumps(shuffled, SCHEMA)
    assert ParquetSink().dumps(ROWS[:2], SCHEMA) != ParquetSink().dumps(ROWS[1:], SCHEMA)


def test_numbers_of_numpy_do_as_well():
    rows = [{"id": "1", "animal_score": np.float64(0.5), "tags_score": [np.float32(0.25)]}]
    (row,) = ParquetSink().loads(ParquetSink().dumps(rows, SCHEMA), SCHEMA)
    assert (row["animal_score"], row["tags_score"]) == (0.5, [0.25])


def test_an_embedding_comes_back_to_the_bit():
    values = np.random.default_rng(1).normal(size=64).astype(np.float32)
    rows = [{"embedding": values.tolist()}]
    (row,) = ParquetSink().loads(ParquetSink().dumps(rows, {"embedding": "numbers"}), {"embedding": "numbers"})
    assert np.array_equal(np.array(row["embedding"], np.float32), values)


def test_a_value_of_another_type_is_refused():
    with pytest.raises(pyarrow.ArrowException):
        ParquetSink().dumps([{"animal_score": "high"}], SCHEMA)


@pytest.fixture
def read(tmp_path):
    """Write a table to a file and read it as a job does, split by split."""

    def write_and_read(table: pyarrow.Table | list[dict] | bytes, **options) -> list[Row]:
        path = tmp_path / "a.parquet"
        path.write_bytes(table if isinstance(table, bytes) else file_of(table, **options))
        return rows_of(str(path))

    return write_and_read


def file_of(table: pyarrow.Table | list[dict], **options) -> bytes:
    out = io.BytesIO()
    table = table if isinstance(table, pyarrow.Table) else pyarrow.Table.from_pylist(table)
    pyarrow.parquet.write_table(table, out, **options)
    return out.getvalue()


def rows_of(path: str) -> list[Row]:
    source = Parquet()
    splits = pickle.loads(pickle.dumps(source.splits(path)))
    rows = [list(source.read(split)) for split in splits]
    assert [split.rows for split in splits] == [len(found) for found in rows]
    return [row for found in rows for row in found]


def columns_of(rows: list[Row]) -> list[dict | None]:
    return [row.columns for row in rows]


def comparable(rows: list[Row]) -> list[tuple]:
    return [(row.origin, row.columns, row.raw, str(row.error)) for row in rows]


def overwritten(data: bytes, group: int, column: int = 0, *, header: int = 0) -> bytes:
    """A file with one column of a row group overwritten, but for so many bytes at its start."""
    about = pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(group).column(column)
    start = (about.dictionary_page_offset or about.data_page_offset) + header
    size = about.total_compressed_size - header
    return data[:start] + b"\xff" * size + data[start + size :]


@pytest.mark.parametrize("group_rows", [1, 3, 64, 1000])
def test_rows_are_numbered_through_all_row_groups(read, group_rows):
    rows = read([{"n": number, "text": f"猫{number}"} for number in range(200)], row_group_size=group_rows)
    assert rows == [Row(f"a.parquet:{n + 1}", {"n": n, "text": f"猫{n}"}) for n in range(200)]


def test_whole_row_groups_make_a_split(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    path.write_bytes(file_of([{"n": number} for number in range(25)], row_group_size=4))
    monkeypatch.setattr(parquet, "SPLIT_ROWS", 10)
    splits = Parquet().splits(str(path))
    assert [(split.first, split.rows) for split in splits] == [(1, 8), (9, 8), (17, 9)]
    assert [row.columns["n"] for row in rows_of(str(path))] == list(range(25))


def test_a_number_of_32_bits_is_the_shortest_decimal_that_stands_for_it(tmp_path):
    given = [0.1, -2.5, 2.0, 3.4e38, 1e-45, None, float("nan"), float("inf")]
    table = pyarrow.table({"id": range(8), "x": pyarrow.array(given, pyarrow.float32())})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    found = [r.columns for split in Parquet().splits(str(tmp_path)) for r in Parquet().read(split)]
    assert [row["x"] for row in found] == [0.1, -2.5, 2.0, 3.4e38, 1e-45, None, None, float("inf")]
    assert [row["id"] for row in found] == list(range(8))


def test_nan_and_null_are_none_wherever_they_stand(read):
    nan = float("nan")
    rows = read([{"x": nan, "y": [1.0, nan, None], "z": {"a": nan}}, {"x": float("inf"), "y": None, "z": None}])
    assert columns_of(rows) == [
        {"x": None, "y": [1.0, None, None], "z": {"a": None}},
        {"x": float("inf"), "y": None, "z": None},
    ]


def test_dates_times_and_decimals_are_their_text(read):
    moment = datetime.datetime(2024, 2, 29, 12, 30, 15, 250_000)
    row = {
        "date": moment.date(),
        "moment": moment,
        "there": moment.replace(tzinfo=datetime.UTC),
        "time": moment.time(),
        "price": decimal.Decimal("12.50"),
        "lasts": datetime.timedelta(hours=30),
        "dates": [moment.date()],
    }
    assert columns_of(read([row])) == [
        {
            "date": "2024-02-29",
            "moment": "2024-02-29T12:30:15.250000",
            "there": "2024-02-29T12:30:15.250000+00:00",
            "time": "12:30:15.250000",
            "price": "12.50",
            "lasts": "1 day, 6:00:00",
            "dates": ["2024-02-29"],
        }
    ]


def test_numbers_and_truths_stay_what_they_are(read):
    table = pyarrow.table(
        {
            "b": [True],
            "i": pyarrow.array([-3], pyarrow.int8()),
            "u": pyarrow.array([2**64 - 1], pyarrow.uint64()),
            "h": pyarrow.array([np.float16(1.5)], pyarrow.float16()),
            "f": pyarrow.array([0.5], pyarrow.float32()),
            "d": pyarrow.array(["x"]).dictionary_encode(),
            "n": pyarrow.nulls(1),
        }
    )
    (row,) = read(table)
    assert row.columns == {"b": True, "i": -3, "u": 2**64 - 1, "h": 1.5, "f": 0.5, "d": "x", "n": None}
    assert [type(row.columns[name]) for name in "biuhf"] == [bool, int, int, float, float]


def test_bytes_that_are_text_are_text_and_others_are_bytes(read):
    rows = read([{"data": "猫".encode(), "more": [b"\xff", b"a"]}, {"data": b"\xff\xd8", "more": None}])
    assert columns_of(rows) == [{"data": "猫", "more": [b"\xff", "a"]}, {"data": b"\xff\xd8", "more": None}]


def test_an_image_of_hugging_face_is_its_bytes_or_its_path(read):
    images = [{"bytes": b"P2 1", "path": "a.pgm"}, {"bytes": None, "path": "b.png"}, {"bytes": b"", "path": None}, None]
    rows = read([{"image": image, "images": [image]} for image in images])
    assert [row.columns["image"] for row in rows] == [b"P2 1", "b.png", b"", None]
    assert [row.columns["images"] for row in rows] == [[b"P2 1"], ["b.png"], [b""], [None]]


def test_lists_and_structs_may_be_nested(read):
    nested = {"boxes": [[[1, 2], []], []], "who": {"name": "x", "tags": ["a", None], "at": datetime.date(2024, 1, 1)}}
    (row,) = read([nested])
    assert row.columns == {**nested, "who": {"name": "x", "tags": ["a", None], "at": "2024-01-01"}}


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("column", [0, 1])
def test_a_damaged_row_group_costs_its_own_rows_alone(read, compression, column):
    table = [{"id": f"row {number}", "x": float(number)} for number in range(9)]
    data = file_of(table, row_group_size=3, compression=compression)
    rows = read(overwritten(data, 1, column))
    assert columns_of(rows) == [*table[:3], None, None, None, *table[6:]]
    assert [row.origin for row in rows] == [f"a.parquet:{number}" for number in range(1, 10)]
    assert [row.raw for row in rows[3:6]] == [{"row_group": 1, "row": number} for number in (4, 5, 6)]
    assert all(str(row.error).startswith("row group 1 is damaged: ") for row in rows[3:6])


def test_damage_that_only_a_checksum_shows_is_seen_where_the_file_has_one(read):
    table = [{"x": float(number)} for number in range(6)]
    options = {"row_group_size": 3, "compression": "none", "use_dictionary": False, "write_page_checksum": True}
    data = bytearray(file_of(table, **options))
    data[data.index(np.float64(1.0).tobytes())] ^= 1
    assert columns_of(read(bytes(data))) == [None, None, None, *table[3:]]


def test_rows_before_the_damaged_page_of_a_row_group_are_read(read):
    table = [{"id": f"row {number:04}"} for number in range(1000)]
    options = {"compression": "none", "use_dictionary": False, "data_page_size": 100, "write_batch_size": 100}
    data = bytearray(file_of(table, **options))
    place = data.index(b"row 0905")
    data[place - 300 : place] = b"\xff" * 300
    rows = read(bytes(data))
    bad = [number for number, row in enumerate(rows) if row.error]
    assert len(rows) == 1000
    assert bad == list(range(bad[0], 1000))
    assert bad[0] > 700
    assert columns_of(rows[: bad[0]]) == table[: bad[0]]


def test_a_text_that_is_not_utf8_costs_no_other_row(read):
    table = [{"text": f"text {number}", "n": number} for number in range(200)]
    data = file_of(table, compression="none", use_dictionary=False, row_group_size=100)
    rows = read(data.replace(b"text 150", b"text 15\xff"))
    assert columns_of(rows) == [*table[:150], None, *table[151:]]
    assert rows[150].raw == {"row": 151}
    assert "a value cannot be read: 'utf-8' codec can't decode" in str(rows[150].error)


def test_a_date_that_python_does_not_have_costs_no_other_row(read):
    table = pyarrow.table({"at": pyarrow.array([0, 10**17, 1], pyarrow.timestamp("ms"))})
    assert columns_of(read(table)) == [{"at": "1970-01-01T00:00:00"}, None, {"at": "1970-01-01T00:00:00.001000"}]


@pytest.mark.parametrize("data", [b"", b"PAR1", b'{"id": 1}\n' * 100, b"PAR1" + b"\xff" * 100 + b"\x50\0\0\0PAR1"])
def test_what_is_no_parquet_file_is_an_error_that_names_it(read, data):
    with pytest.raises(MmstreamError, match=r"a\.parquet"):
        read(data)


def test_a_file_that_is_cut_off_is_an_error_that_names_it(read):
    with pytest.raises(MmstreamError, match=r"a\.parquet is not a Parquet file, or is damaged"):
        read(file_of([{"n": 1}])[:-10])


def test_two_columns_of_one_name_are_an_error_for_one_would_be_lost(read):
    table = pyarrow.table([[1], [2], [3]], names=["a", "b", "a"])
    with pytest.raises(MmstreamError, match=r"a\.parquet: it has a column twice: 'a'"):
        read(table)


def test_a_table_without_rows_gives_none(read):
    assert read(pyarrow.table({"a": pyarrow.array([], pyarrow.int64())})) == []


def test_all_files_of_a_folder_or_a_pattern_are_read_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.parquet").write_bytes(file_of([{"n": 1}, {"n": 2}]))
    (tmp_path / "b" / "a.pq").write_bytes(file_of([{"m": 3}]))
    (tmp_path / "notes.txt").write_text("no rows")
    expected = [Row("a.parquet:1", {"n": 1}), Row("a.parquet:2", {"n": 2}), Row("b/a.pq:1", {"m": 3})]
    assert rows_of(str(tmp_path)) == expected
    assert rows_of(str(tmp_path / "**" / "a.p*")) == expected
    with pytest.raises(MmstreamError, match="no file matches"):
        Parquet().splits(str(tmp_path / "b" / "*.parquet"))


def test_a_file_on_another_filesystem_is_read_through_beam(memory_files, monkeypatch):
    monkeypatch.setattr(parquet, "SPLIT_ROWS", 2)
    table = [{"n": number, "text": f"row {number}"} for number in range(6)]
    data = overwritten(file_of(table, row_group_size=2), 1)
    memory_files["memory://bucket/a.parquet"] = data
    rows = rows_of("memory://bucket/a.parquet")
    assert columns_of(rows) == [*table[:2], None, None, *table[4:]]
    assert len(Parquet().splits("memory://bucket/a.parquet")) == 3


def test_label_rows_are_read_by_the_source(read):
    rows = read(ParquetSink().dumps(ROWS, SCHEMA))
    assert columns_of(rows) == ROWS
