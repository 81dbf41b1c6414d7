"""The contract of a sink."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mmstream.interfaces import LabelType
from mmstream.testing import fresh
from mmstream.testing.component import LightContract

SCHEMA: Mapping[str, LabelType] = {
    "id": "string",
    "price": "number",
    "price_score": "number",
    "keywords": "strings",
    "keywords_score": "numbers",
    "embedding": "numbers",
}
ROWS: Sequence[Mapping[str, Any]] = (
    {
        "id": "a/1",
        "price": 1.1,
        "price_score": 1e-300,
        "keywords": ["animal", "Tier 🐈"],
        "keywords_score": [0.75, 0.5],
        "embedding": [0.0, -1.5, 3.0],
    },
    {
        "id": 'quote " comma , tab \t line \n end',
        "price": -(2.0**60),
        "price_score": None,
        "keywords": [],
        "keywords_score": [],
        "embedding": [1.0],
    },
    {"id": "", "price": None, "price_score": None, "keywords": None, "keywords_score": None, "embedding": None},
    {"id": "食べ物", "price": 0.0, "price_score": 1.0, "keywords": [""], "keywords_score": [1.0], "embedding": [0.25]},
)
"""Label rows with labels of every type; "numbers" are float32."""


class SinkContract(LightContract):
    """A sink returns rows as they were written, and writes equal rows as equal bytes, on any day and in any process.

    A test sets only `name` and `parameters`.
    """

    kind = "sink"

    def test_gives_the_rows_back(self) -> None:
        sink = self.build()
        assert sink.loads(sink.dumps(ROWS, SCHEMA), SCHEMA) == list(ROWS)

    def test_a_column_that_a_row_lacks_is_null(self) -> None:
        sink = self.build()
        loaded = sink.loads(sink.dumps([{"id": "a"}, ROWS[0]], SCHEMA), SCHEMA)
        assert loaded == [{**dict.fromkeys(SCHEMA), "id": "a"}, ROWS[0]]

    def test_no_rows_make_a_valid_empty_file(self) -> None:
        sink = self.build()
        assert sink.loads(sink.dumps([], SCHEMA), SCHEMA) == []

    def test_equal_rows_give_equal_bytes_on_another_day(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = self.build().dumps(ROWS, SCHEMA)
        later = time.time() + 86_400
        monkeypatch.setattr(time, "time", lambda: later)
        monkeypatch.setattr(time, "time_ns", lambda: int(later * 1e9))
        assert self.build().dumps(ROWS, SCHEMA) == first

    def test_equal_rows_give_equal_bytes_in_another_process(self) -> None:
        code = (
            "import hashlib; from mmstream.plugins import components; *about, rows, schema = given;"
            "result = hashlib.sha256(components.build(*about).dumps(rows, schema)).hexdigest()"
        )
        digest = fresh.run_python(code, (self.kind, self.name, dict(self.parameters), ROWS, SCHEMA))
        assert digest == hashlib.sha256(self.build().dumps(ROWS, SCHEMA)).hexdigest()

    def test_the_order_of_a_rows_columns_does_not_matter(self) -> None:
        sink = self.build()
        reversed_rows = [{name: row[name] for name in reversed(list(row))} for row in ROWS]
        assert sink.dumps(reversed_rows, SCHEMA) == sink.dumps(ROWS, SCHEMA)

    def test_its_files_have_a_suffix(self) -> None:
        assert self.build().suffix.startswith(".")
