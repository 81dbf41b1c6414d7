"""Label rows go into Parquet and come back."""

from __future__ import annotations

import io

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from mmstream_io.parquet import Parquet

SCHEMA = {"id": "string", "animal": "string", "animal_score": "number", "tags": "strings", "tags_score": "numbers"}
ROWS = [
    {"id": "1", "animal": "猫", "animal_score": 0.1, "tags": ["a", "b"], "tags_score": [0.5, 0.25]},
    {"id": "2", "animal": None, "animal_score": None, "tags": [], "tags_score": []},
    {"id": "", "animal": "x\n\0'\"", "animal_score": float("inf"), "tags": None, "tags_score": None},
]


def test_rows_come_back_as_they_were():
    sink = Parquet()
    assert sink.loads(sink.dumps(ROWS, SCHEMA)) == ROWS


def test_a_column_that_a_row_lacks_is_null():
    sink = Parquet()
    assert sink.loads(sink.dumps([{"id": "1"}], {"id": "string", "tags": "strings"})) == [{"id": "1", "tags": None}]


def test_the_file_has_the_stated_types_and_order_whatever_the_rows_hold():
    for rows in (ROWS, ROWS[1:2], []):
        table = pyarrow.parquet.read_table(io.BytesIO(Parquet().dumps(rows, SCHEMA)))
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
    assert Parquet().loads(Parquet().dumps([], SCHEMA)) == []


def test_equal_rows_give_equal_bytes():
    shuffled = [dict(reversed(row.items())) for row in ROWS]
    assert Parquet().dumps(ROWS, SCHEMA) == Parquet().dumps(shuffled, SCHEMA)
    assert Parquet().dumps(ROWS[:2], SCHEMA) != Parquet().dumps(ROWS[1:], SCHEMA)


def test_numbers_of_numpy_do_as_well():
    rows = [{"id": "1", "animal_score": np.float64(0.5), "tags_score": [np.float32(0.25)]}]
    (row,) = Parquet().loads(Parquet().dumps(rows, SCHEMA))
    assert (row["animal_score"], row["tags_score"]) == (0.5, [0.25])


def test_an_embedding_comes_back_to_the_bit():
    values = np.random.default_rng(1).normal(size=64).astype(np.float32)
    rows = [{"embedding": values.tolist()}]
    (row,) = Parquet().loads(Parquet().dumps(rows, {"embedding": "numbers"}))
    assert np.array_equal(np.array(row["embedding"], np.float32), values)


def test_a_value_of_another_type_is_refused():
    with pytest.raises(pyarrow.ArrowException):
        Parquet().dumps([{"animal_score": "high"}], SCHEMA)
