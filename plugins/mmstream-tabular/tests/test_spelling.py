"""One spelling of a value, whether it comes from CSV, Parquet, JSON lines or Python."""

from __future__ import annotations

import csv
import datetime
from decimal import Decimal

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from mmstream_io.csv import Csv
from mmstream_io.jsonl import Jsonl
from mmstream_io.parquet import Parquet
from mmstream_tabular.category import Category
from mmstream_tabular.spelling import canonical
from mmstream_tabular.tags import Tags

UTC = datetime.UTC
SPELT = {
    "true": [True, "true", "True", "TRUE", " True\n", np.True_, pyarrow.scalar(True)],
    "false": [False, "false", "False", "FALSE", np.False_],
    "2": [2, 2.0, "2", "2.0", "2.000", Decimal(2), Decimal("2.00"), np.int8(2), np.float32(2), pyarrow.scalar(2)],
    "-12": [-12, -12.0, "-12.0"],
    "0": [0, 0.0, -0.0, "0.0", "-0.0", "-0"],
    "0.1": [0.1, "0.1", Decimal("0.1"), np.float32(0.1), np.float16(0.1), np.float64(0.1), pyarrow.scalar(0.1)],
    "1e+16": [1e16, "1e+16"],
    "2.50": ["2.50", Decimal("2.50")],
    "2024-05-01": [
        datetime.date(2024, 5, 1),
        datetime.datetime(2024, 5, 1),
        *("2024-05-01", "2024-05-01 00:00:00", "2024-05-01T00:00:00", "2024-05-01T00:00:00.000", "2024-05-01 00:00"),
        *(np.datetime64("2024-05-01"), np.datetime64("2024-05-01", "ns"), pyarrow.scalar(datetime.date(2024, 5, 1))),
    ],
    "2024-05-01T12:30:00": [
        datetime.datetime(2024, 5, 1, 12, 30),
        *(
            "2024-05-01 12:30:00",
            "2024-05-01T12:30:00.000",
            "2024-05-01 12:30",
            np.datetime64("2024-05-01T12:30", "us"),
        ),
    ],
    "2024-05-01T12:30:00.5": [
        datetime.datetime(2024, 5, 1, 12, 30, 0, 500_000),
        *("2024-05-01 12:30:00.500", "2024-05-01T12:30:00.500000"),
    ],
    "2024-05-01T00:00:00Z": [
        datetime.datetime(2024, 5, 1, tzinfo=UTC),
        *("2024-05-01 00:00:00+00:00", "2024-05-01T00:00:00Z", "2024-05-01T00:00:00.0+0000"),
    ],
    "12:30:00": [datetime.time(12, 30), "12:30:00"],
}
AS_WRITTEN = [
    "007",
    "1.10",
    "1e5",
    "tRuE",
    "2.",
    ".0",
    "+2.0",
    "00.0",
    "1,000.0",
    "２.0",
    "2.0.0",
    "True.",
    "yes",
    "1.0a",
]
AS_WRITTEN += ["2024-5-1 00:00:00", "01.05.2024", "2024-05-01T00:00:00-07:00", "2024-05-01x00:00:00", "NaN", "None"]


@pytest.mark.parametrize("spelling", SPELT)
def test_a_value_is_spelt_in_one_way_however_it_is_written(spelling):
    for value in SPELT[spelling]:
        assert Category().decode(value) == {"value": [spelling], "place": [0]}, repr(value)
    assert Tags().decode(SPELT[spelling]) == {"values": [spelling]}
    columns = Category(columns=["one", "other"]).decode([SPELT[spelling][0], SPELT[spelling][-1]])
    assert columns == {"value": [f"one={spelling}", f"other={spelling}"], "place": [0, 1]}
    assert canonical(spelling) == spelling


@pytest.mark.parametrize("text", AS_WRITTEN)
def test_other_texts_stay_as_they_are_written(text):
    assert Category().decode(text)["value"] == [text]


@pytest.mark.parametrize(
    "value", [float("nan"), np.float32("nan"), np.datetime64("NaT"), Decimal("NaN"), pyarrow.scalar(None)]
)
def test_what_stands_for_a_missing_value_is_absent(value):
    assert Category().decode(value) is None
    assert Tags().decode([value, "a"]) == {"values": ["a"]}


@pytest.mark.parametrize("text", ["True", "2.0", "2024-05-01 00:00:00"])
def test_texts_stay_as_they_are_written_where_the_config_says_so(text):
    assert Category(spelling="as_written").decode(f" {text}")["value"] == [text]
    assert Tags(spelling="as_written").decode([text]) == {"values": [text]}
    assert Category(spelling="as_written").decode(True)["value"] == ["true"]


def test_the_exported_graph_spells_texts_as_they_are_decoded():
    import tensorflow as tf

    texts = [value for values in SPELT.values() for value in values if isinstance(value, str)] + AS_WRITTEN
    served = Category().serve(tf.constant(texts))["value"].to_list()
    assert [[value.decode() for value in row] for row in served] == [Category().decode(text)["value"] for text in texts]


@pytest.fixture
def written(tmp_path):
    """The same values as CSV, Parquet and JSON lines."""
    rows = [
        {"flag": True, "level": 2, "day": "2024-05-01", "share": 0.1},
        {"flag": False, "level": 3, "day": "2024-05-02", "share": 2.0},
    ]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        for row in rows:
            table.writerow({**row, "level": float(row["level"]), "day": f"{row['day']} 00:00:00"})
    typed = [{**row, "day": datetime.datetime.fromisoformat(row["day"])} for row in rows]
    schema = pyarrow.schema(
        [
            ("flag", pyarrow.bool_()),
            ("level", pyarrow.int8()),
            ("day", pyarrow.timestamp("us")),
            ("share", pyarrow.float32()),
        ]
    )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(typed, schema), tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text(
        '{"flag": true, "level": 2, "day": "2024-05-01", "share": 0.1}\n'
        '{"flag": false, "level": 3.0, "day": "2024-05-02T00:00:00", "share": 2}\n'
    )
    return tmp_path


def test_the_same_rows_are_the_same_categories_from_every_source(written):
    field = Category(columns=["flag", "level", "day", "share"])
    found = []
    for source, name in ((Csv(), "rows.csv"), (Parquet(), "rows.parquet"), (Jsonl(), "rows.jsonl")):
        rows = [row.columns for split in source.splits(str(written / name)) for row in source.read(split)]
        found.append([field.decode([row[column] for column in field.columns])["value"] for row in rows])
    assert found[0] == [
        ["flag=true", "level=2", "day=2024-05-01", "share=0.1"],
        ["flag=false", "level=3", "day=2024-05-02", "share=2"],
    ]
    assert found[1] == found[0]
    assert found[2] == found[0]
