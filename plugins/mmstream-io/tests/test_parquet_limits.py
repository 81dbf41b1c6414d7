"""A few bytes of Parquet that stand for very much are refused, or made a row at a time; what is ordinary is read."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmstream_io import arrow_rows, conversion, limits, parquet, row_groups
from mmstream_io.parquet import Parquet

from mmstream.errors import MmstreamError
from mmstream.interfaces import Row

PLAIN_TYPES = {"store_schema": False}
"""Options of a file that does not say that a column is a dictionary, though it is kept as one."""


@pytest.fixture
def read(tmp_path):
    """Write a table to a file and read it."""

    def write_and_read(table: pyarrow.Table | dict | bytes, **options) -> list[Row]:
        path = tmp_path / "a.parquet"
        path.write_bytes(table if isinstance(table, bytes) else file_of(table, **options))
        source = Parquet()
        return [row for split in source.splits(str(path)) for row in source.read(split)]

    return write_and_read


@pytest.fixture
def made(monkeypatch):
    """How many rows Arrow was asked for at a time."""
    counts = []

    class Recording(pyarrow.parquet.ParquetFile):
        def iter_batches(self, batch_size, **options):
            counts.append(batch_size)
            return super().iter_batches(batch_size, **options)

    monkeypatch.setattr(parquet.pyarrow.parquet, "ParquetFile", Recording)
    return counts


def file_of(table: pyarrow.Table | dict, **options) -> bytes:
    out = io.BytesIO()
    table = table if isinstance(table, pyarrow.Table) else pyarrow.table(table)
    pyarrow.parquet.write_table(table, out, **{"compression": "zstd", **options})
    return out.getvalue()


def same(value, count: int) -> pyarrow.Array:
    """One value, so many times, kept once."""
    return named([value], [0] * count)


def named(values: list, places: list[int]) -> pyarrow.Array:
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(places, pyarrow.int32()), pyarrow.array(values))


def lists(lengths: list[int], values: pyarrow.Array) -> pyarrow.Array:
    return pyarrow.ListArray.from_arrays(np.cumsum([0, *lengths]).astype(np.int32), values)


def errors_of(rows: list[Row]) -> list[str | None]:
    return [str(row.error) if row.error else None for row in rows]


@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize("options", [PLAIN_TYPES, {}])
def test_a_large_value_that_is_named_again_and_again_is_made_a_few_times_at_once(read, made, kind, options):
    value = "x" * 5_000_000 if kind is str else b"\xff" * 5_000_000
    rows = read({"n": list(range(100)), "t": same(value, 100)}, **options)
    assert [row.columns for row in rows] == [{"n": number, "t": value} for number in range(100)]
    assert max(made) * len(value) <= row_groups.BATCH_BYTES


def test_texts_that_begin_as_others_do_are_made_a_few_at_once(read, made):
    texts = ["x" * 3_000_000 + str(number) for number in range(64)]
    rows = read({"t": texts}, use_dictionary=False, column_encoding={"t": "DELTA_BYTE_ARRAY"})
    assert [row.columns["t"] for row in rows] == texts
    assert max(made) * len(texts[0]) <= row_groups.BATCH_BYTES


def test_ordinary_rows_are_read_many_at_a_time(read, made):
    count = 3_000
    table = {
        "id": [f"row {number}" for number in range(count)],
        "text": [f"{'a longer text ' * 20}{number}" for number in range(count)],
        "x": np.random.default_rng(1).normal(size=count),
        "tags": [[f"tag {number % 7}", "b"] for number in range(count)],
        "picture": [{"bytes": random.Random(number).randbytes(500), "path": None} for number in range(count)],
    }
    rows = read(table)
    assert rows[-1].columns["text"] == table["text"][-1]
    assert made == [64]


def test_a_dictionary_of_many_short_values_does_not_make_batches_small(read, made):
    values = [f"{'value ' * 10}{number}" for number in range(20_000)]
    assert len(read({f"c{n}": values for n in range(8)})) == 20_000
    assert made == [64]


@pytest.mark.parametrize("compression", ["zstd", "gzip", "snappy", "brotli", "lz4"])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_pages_that_unpack_to_too_much_are_not_unpacked(read, made, monkeypatch, compression, use_dictionary):
    monkeypatch.setattr(row_groups, "MAX_PAGES_BYTES", 1_000_000)
    small, large = {"t": ["a"] * 3}, {"t": ["x" * 3_000_000] * 3}
    tables = [small, large, small]
    out = io.BytesIO()
    schema = pyarrow.schema([("t", pyarrow.string())])
    options = {"compression": compression, "use_dictionary": use_dictionary}
    with pyarrow.parquet.ParquetWriter(out, schema, **options) as writer:
        for table in tables:
            writer.write_table(pyarrow.table(table))
    rows = read(out.getvalue())
    assert [row.columns is not None for row in rows] == [True] * 3 + [False] * 3 + [True] * 3
    assert "bytes of memory once they are unpacked; the limit is 1,000,000" in str(rows[3].error)


def test_pages_that_do_not_pack_may_be_large_as_those_of_pictures_are(read, monkeypatch):
    monkeypatch.setattr(row_groups, "MAX_PAGES_BYTES", 1_000_000)
    monkeypatch.setattr(row_groups, "MAX_FULL_PAGES_BYTES", 10_000_000)
    pictures = [random.Random(number).randbytes(500_000) for number in range(6)]
    assert [row.columns["p"] for row in read({"p": pictures})] == pictures
    monkeypatch.setattr(row_groups, "MAX_FULL_PAGES_BYTES", 2_000_000)
    assert all("once they are unpacked" in str(row.error) for row in read({"p": pictures}))


def test_a_list_that_names_a_large_value_again_and_again_is_not_made(read):
    values = named(["a", "x" * 1_000_000], [0] + [1] * 2_000 + [0])
    rows = read({"t": lists([1, 2_000, 1], values)}, **PLAIN_TYPES)
    assert all("because it refers to large values repeatedly" in str(row.error) for row in rows)


@pytest.mark.parametrize("lengths", [[1, 2_000_000, 1], [2_000_000], [1] * 100 + [2_000_000] + [1] * 100])
def test_a_list_of_too_many_values_is_not_made_and_costs_no_row_before(read, lengths):
    rows = read({"t": lists(lengths, pyarrow.array(np.zeros(sum(lengths), np.int64)))})
    assert len(rows) == len(lengths)
    bad = [number for number, row in enumerate(rows) if row.error]
    assert bad == list(range(max(0, lengths.index(2_000_000) - 1), len(lengths)))
    assert "a row holds more than the limit of 1,048,576 values" in str(rows[bad[0]].error)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("values", [pyarrow.nulls(20_000_000), pyarrow.array(np.zeros(20_000_000, bool))])
def test_a_page_of_lists_of_too_many_values_is_not_made(read, values, version):
    rows = read({"t": lists([19_999_999, 1], values)}, data_page_version=version)
    assert all("a page of lists holds" in str(row.error) for row in rows)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["zstd", "none", "lz4"])
def test_many_lists_of_few_values_are_read_however_many_there_are_in_all(read, version, compression):
    lengths = np.random.default_rng(1).integers(0, 60, 60_000).tolist()
    values = pyarrow.array(np.arange(sum(lengths)))
    rows = read({"t": lists(lengths, values)}, data_page_version=version, compression=compression)
    assert [len(row.columns["t"]) for row in rows] == lengths


def test_a_nested_list_of_too_many_values_in_all_is_not_made(read):
    rows = read({"t": [[[1] * 1_500] * 1_000]})
    assert errors_of(rows)[0].startswith("row group 0 is damaged: a row holds more than the limit of 1,048,576 values")


def test_a_row_that_takes_up_too_much_in_all_costs_no_other(read, monkeypatch):
    monkeypatch.setattr(arrow_rows, "_TOGETHER_BYTES", 0)
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", 1_000_000)
    texts = [["a"] * 5, ["a", "a", "x" * 300_000, "a", "a"], ["b"] * 5]
    rows = read({f"c{n}": column for n, column in enumerate([texts[0], texts[1], texts[1], texts[1], texts[1]])})
    found = errors_of(rows)
    assert [error is None for error in found] == [True, True, False, True, True]
    assert found[2].startswith("the row takes up 1,200,")


def test_a_map_and_a_struct_are_counted_too(read, monkeypatch):
    monkeypatch.setattr(arrow_rows, "_TOGETHER_BYTES", 0)
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", 1_000_000)
    kind = pyarrow.map_(pyarrow.string(), pyarrow.string())
    rows = read({"t": pyarrow.array([[("k", "a")], [("k", "x" * 800_000), ("l", "y" * 800_000)]], kind)})
    assert [row.error is None for row in rows] == [True, False]
    rows = read({"t": [{"a": "x", "b": ["y"]}, {"a": "x" * 800_000, "b": ["y" * 800_000]}]})
    assert [row.error is None for row in rows] == [True, False]


def test_a_text_that_would_take_up_too_much_memory_costs_no_other(read, monkeypatch):
    monkeypatch.setattr(arrow_rows, "_TOGETHER_BYTES", 0)
    monkeypatch.setattr(limits, "MAX_TEXT_BYTES", 1_000_000)
    rows = read({"t": ["a", "x" * 500_000 + "😀", "x" * 500_000, "b"]})
    assert [row.error is None for row in rows] == [True, False, True, True]
    assert "takes up 2,000,004 bytes of memory; the limit is 1,000,000" in str(rows[1].error)


def test_too_many_columns_are_refused_with_their_number(read):
    with pytest.raises(MmstreamError, match=r"a\.parquet: it has 17,000 columns; the limit is 16,384"):
        read({f"c{number}": [number] for number in range(17_000)})
    nested = pyarrow.array([{f"c{number}": number for number in range(17_000)}])
    with pytest.raises(MmstreamError, match=r"a\.parquet: it has 17,000 columns; the limit is 16,384"):
        read({"a": nested})


def test_a_footer_that_is_too_large_is_refused(read, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_FOOTER_BYTES", 100)
    with pytest.raises(MmstreamError, match="its footer takes up"):
        read({"a": [1]})


def thrift(number: int) -> bytes:
    """A whole number as Thrift's compact protocol has it."""
    number, found = number << 1, b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def test_more_rows_than_a_file_can_hold_are_refused(read):
    data = file_of({"n": [7] * 54_321})
    lying = data.replace(thrift(54_321), thrift(54_321 << 21))
    data = lying[:-8] + (len(lying) - len(data) + int.from_bytes(data[-8:-4], "little")).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(MmstreamError, match="it claims to have 113,919,393,792 rows in"):
        read(data)


def test_of_very_many_rows_that_cannot_be_read_one_stands_for_the_rest(read, monkeypatch):
    monkeypatch.setattr(parquet, "_MOST_LOST", 50)
    data = file_of({"n": list(range(100))}, compression="none", use_dictionary=False)
    place = data.index(np.arange(10).tobytes())
    rows = read(data[: place - 20] + b"\xff" * 20 + data[place:])
    assert [row.origin for row in rows] == ["a.parquet:1"]
    assert str(rows[0].error).endswith("so are all rows up to 100")


def test_a_disk_that_does_not_answer_is_no_fault_of_the_rows(read, monkeypatch):
    class Failing(pyarrow.parquet.ParquetFile):
        def iter_batches(self, *arguments, **options):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(parquet.pyarrow.parquet, "ParquetFile", Failing)
    with pytest.raises(MmstreamError, match=r"cannot read .*a\.parquet: Input/output error"):
        read({"a": [1]})


VALUES = st.one_of(
    st.lists(st.none() | st.text(max_size=5), min_size=1, max_size=30),
    st.lists(st.none() | st.lists(st.none() | st.binary(max_size=4), max_size=4), min_size=1, max_size=30),
    st.lists(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3), min_size=1, max_size=30),
    st.lists(st.fixed_dictionaries({"a": st.lists(st.text(max_size=3), max_size=3)}), min_size=1, max_size=30),
)
OPTIONS = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(["none", "snappy", "zstd"]),
        "use_dictionary": st.booleans(),
        "data_page_size": st.sampled_from([16, 60, 1000]),
        "write_batch_size": st.integers(1, 8),
        "row_group_size": st.integers(1, 40),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=VALUES, options=OPTIONS, small=st.sampled_from([0, 50]), batch=st.sampled_from([1, 100, 10_000]))
def test_whatever_is_looked_at_first_the_rows_are_the_same(tmp_path: Path, values, options, small, batch):
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"v": pyarrow.array(values), "n": list(range(len(values)))})
    path.write_bytes(file_of(table, **options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_groups, "_SMALL", small)
        patch.setattr(row_groups, "_SHORT", 0)
        patch.setattr(row_groups, "BATCH_BYTES", batch)
        source = Parquet()
        rows = [row for split in source.splits(str(path)) for row in source.read(split)]
    assert not any(row.error for row in rows), errors_of(rows)
    assert [row.columns for row in rows] == [conversion.plain(columns) for columns in table.to_pylist()]
