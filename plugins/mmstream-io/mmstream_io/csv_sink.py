"""Label rows as comma-separated values, with the names of the columns in the first line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mmstream.interfaces import LabelType, Sink
from mmstream.records.record import json_line
from mmstream_io import conversion

_CELL = re.compile(r'("(?:[^"]|"")*"|[^",\n]*)([,\n])')
"""A cell of `CsvSink`, and what ends it. (Python's own reader does not distinguish an empty text from no value.)"""

_BEGIN_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
"""First characters of what a spreadsheet takes for a formula, also in full width; and the escape character."""


class CsvSink(Sink):
    """Writes comma-separated values, names first; texts are in double quotes, lists JSON in quotes, nulls empty.

    If a text begins with =, +, - or @, or with a tab or line end before one of them, a spreadsheet takes it for a
    formula and may run it: a formula can read other cells, fetch addresses, or start programs. Captions and ids are
    untrusted texts, so use "escape" for files that people open in a spreadsheet, and open them with the comma as the
    only delimiter. Numbers stay numbers, and lists begin with a bracket, which does not begin a formula.

    Source: OWASP, "CSV injection".

    Args:
        formulas: "keep" writes texts as they are; "escape" puts an apostrophe before those that begin as a formula may,
            and before those that begin with an apostrophe; reading the file removes it again.
    """

    suffix = ".csv"

    def __init__(self, *, formulas: Literal["keep", "escape"] = "keep") -> None:
        self.formulas = formulas

    def dumps(self, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, LabelType]) -> bytes:
        """The content of the file; columns are in the schema's order."""
        lines = [[_quoted(self._harmless(name)) for name in schema]]
        lines += [[self._cell(row.get(name), kind) for name, kind in schema.items()] for row in rows]
        return "".join(",".join(line) + "\n" for line in lines).encode()

    def loads(self, data: bytes, schema: Mapping[str, LabelType]) -> list[dict[str, Any]]:
        """The rows in a file's content."""
        lines: list[list[str]] = [[]]
        for cell, end in _CELL.findall(data.decode()):
            lines[-1].append(cell)
            if end == "\n":
                lines.append([])
        names = [self._as_it_was(_unquoted(cell)) for cell in lines[0]]
        return [
            {name: self._value(cell, schema.get(name, "string")) for name, cell in zip(names, line, strict=True)}
            for line in lines[1:-1]
        ]

    def _cell(self, value: Any, kind: LabelType) -> str:
        return _cell(self._harmless(value) if kind == "string" and isinstance(value, str) else value, kind)

    def _value(self, cell: str, kind: LabelType) -> Any:
        value = _value(cell, kind)
        return self._as_it_was(value) if isinstance(value, str) else value

    def _harmless(self, text: str) -> str:
        return f"'{text}" if self.formulas == "escape" and text.startswith(_BEGIN_FORMULAS) else text

    def _as_it_was(self, text: str) -> str:
        return text.removeprefix("'") if self.formulas == "escape" else text


def _cell(value: Any, kind: LabelType) -> str:
    value = conversion.label(value, kind)
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    return _quoted(json_line(value)) if isinstance(value, list) else repr(value)


def _value(cell: str, kind: LabelType) -> Any:
    if not cell:
        return None
    if kind == "number":
        return float(cell)
    return _unquoted(cell) if kind == "string" else json.loads(_unquoted(cell))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell
