"""Comma- and tab-separated values, with a line of names at the top."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal, NamedTuple

from mmstream import files
from mmstream.errors import MmstreamError, describe
from mmstream.interfaces import LabelType, Row, Sink, Source, Split
from mmstream.records import json_line
from mmstream_io import inputs
from mmstream_io.open_quotes import Again

SPLIT_BYTES = 8 * 1024 * 1024
MAX_LINE_BYTES = inputs.MAX_ROW_BYTES
MAX_QUOTED_BYTES = 256 * 1024
"""A row that is open for longer than this is taken for one with a quote that was never closed."""
MAX_CELL = 16 * 1024 * 1024
"""Characters of a cell; Python's reader keeps one as four bytes each."""
_DELIMITER_BYTES = 1024 * 1024
"""So much of the first line tells the delimiter."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t|"
"""The first of those that stand equally often is meant."""
_QUOTED = re.compile('"[^"]*"')
_NEVER_CLOSED = "a quote is opened and never closed"

_CELL = re.compile(r'("(?:[^"]|"")*"|[^",\n]*)([,\n])')
"""A cell that `CsvSink` wrote, and what ends it. (Python's own reader does not tell an empty text from nothing.)"""

_BEGIN_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
"""What a text may begin with that a spreadsheet takes for a formula, in full width, too; and what escapes it."""

csv.field_size_limit(MAX_CELL)


_Line = tuple[bytes, int, bool]
"""A line as `inputs.lines_of` gives it."""


class _Record(NamedTuple):
    """A row as it stands in a file.

    Attributes:
        line: number of its first line, from 1.
        start: its first byte.
        end: one past its last.
        cells: what it says; none where it cannot be read.
        lines: that it stands in, as `inputs.lines_of` gives them.
        error: why it cannot be read.
        free: whether what stands before it has no part in how it is read.
    """

    line: int
    start: int
    end: int
    cells: list[str]
    lines: list[_Line]
    error: ValueError | None
    free: bool

    def raw(self) -> bytes:
        """Its bytes; of a line that is too long the first of them."""
        return b"".join(line if whole else line[: inputs.RAW_BYTES] for line, _, whole in self.lines)


class _Lines:
    """The lines of a file for Python's reader, and which of them it took for the row at hand.

    Attributes:
        taken: lines of the row, as `inputs.lines_of` gives them.
        problem: why one of them is no text.
        free: whether what stood before the row has no part in how it is read.
    """

    def __init__(self, source: Iterator[_Line], encoding: str, delimiter: str) -> None:
        self._source = source
        self._ahead: deque[_Line] = deque()
        self._encoding = encoding
        self._delimiter = delimiter
        self._size = 0
        self._most = MAX_QUOTED_BYTES
        self._again = Again()
        self.taken: list[_Line] = []
        self.problem: ValueError | None = None
        self.free = True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._size >= self._most:
            raise StopIteration
        line, size, whole = item = self._ahead.popleft() if self._ahead else next(self._source)
        self.taken.append(item)
        self._size += size
        if not whole:
            raise ValueError(f"the line is longer than {MAX_LINE_BYTES:,} bytes")
        try:
            text = inputs.text_of(line, self._encoding)
        except UnicodeDecodeError as error:  # where the row ends can be seen all the same
            self.problem = self.problem or error
            text = line.decode(self._encoding, "replace")
        if len(text) > inputs.MAX_VALUES and text.count(self._delimiter) > inputs.MAX_VALUES:
            raise ValueError(f"the line holds more than {inputs.MAX_VALUES:,} delimiters, which are too many to read")
        return text

    def begin_row(self) -> None:
        """What was taken belongs to the last row."""
        if not self.free or self._again.has_begun:
            self._again.go_on(sum(size for _, size, _ in self.taken))
            self.free = self._again.is_over()
            self._most = 1 if self._again.is_enough() else MAX_QUOTED_BYTES  # with a line taken it is full
        self._size, self.taken, self.problem = 0, [], None

    def give_back(self) -> None:
        """Keep the first line alone."""
        self._again.note(self._size)
        self._ahead.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


class Csv(Source):
    """Reads CSV and TSV files with the names of the columns in the first line. Files may be gzipped.

    Every cell is a text, an empty one is None; blank lines are passed over. A cell in double quotes may hold the
    delimiter, line ends, and quotes (doubled). A row with too few or too many cells, with a quote that is never closed
    (within 256 KiB) or closed in the middle of a cell, or that is not of the encoding, becomes a row with an error; it
    costs no other, and a quote that is never closed costs but the line in which it is opened.

    Source: RFC 4180.

    Args:
        delimiter: between cells; None for a tab in files that end in .tsv, and in others for the one of comma,
            semicolon, tab and bar that stands most often in the first line, outside quotes. With `names`, a comma.
        encoding: of the files.
        names: of the columns, where the first line holds no names.
    """

    suffixes = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

    def __init__(
        self, *, delimiter: str | None = None, encoding: str = "utf-8", names: list[str] | None = None
    ) -> None:
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise ValueError(f"delimiter: expected one character; found {delimiter!r}")
        try:
            plain = '"\n,'.encode(encoding).endswith(b'"\n,')  # some begin with a mark
        except LookupError as error:
            raise ValueError(f"encoding: there is no {encoding!r}") from error
        if not plain:
            raise ValueError(f"encoding: {encoding!r} is none in which a line end is a single byte")
        if names is not None and (not names or len(set(names)) < len(names)):
            raise ValueError(f"names: expected different names, one or more; found {names!r}")
        self.delimiter = delimiter
        self.encoding = encoding
        self.names = names

    def splits(self, path: str) -> list[Split]:
        """Pieces of about 8 MiB, cut between rows; a gzipped file is one.

        Raises:
            MmstreamError: a file cannot be read, or its first line names no columns.
        """
        return [split for file in inputs.find(path, self.suffixes, "csv") for split in self._cut(file)]

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is "<file>:<line>", the first line of a row that has several."""
        with inputs.open_file(split.path) as file:
            names = self._header(split.path, self._records(split.path, file, 0, None, 1))
            for record in self._records(split.path, file, split.start, split.end, split.first):
                yield self._row(record, f"{split.origin}:{record.line}", names)

    def _cut(self, file: inputs.InputFile) -> Iterator[Split]:
        start = end = first = rows = 0
        most = inputs.piece_bytes(file.path, SPLIT_BYTES)
        with inputs.open_file(file.path) as opened:
            records = self._records(file.path, opened, 0, None, 1)
            self._header(file.path, records)
            for record in records:
                if rows and record.free and record.end - start > most:
                    yield Split(file.path, rows, file.origin, first, start, end)
                    rows = 0
                if not rows:
                    start, first = record.start, record.line
                rows, end = rows + 1, record.end
        if rows:
            yield Split(file.path, rows, file.origin, first, start, end)

    def _header(self, path: str, records: Iterator[_Record]) -> list[str]:
        """The names of the columns; takes the line that holds them."""
        if self.names is not None:
            return self.names
        record = next(records, None)
        if record is None:
            return []
        if record.error:
            raise MmstreamError(f"{path}: the first line names no columns: {describe(record.error)}")
        inputs.check_names(path, record.cells, "the first line names")
        return record.cells

    def _records(self, path: str, file: BinaryIO, start: int, end: int | None, number: int) -> Iterator[_Record]:
        """Rows from here on, blank lines left out."""
        delimiter = self.delimiter or self._likely_delimiter(path, file)
        file.seek(start)
        if not start and file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK:
            start = len(_BYTE_ORDER_MARK)
        file.seek(start)
        source = inputs.lines_of(file, None if end is None else end - start, MAX_LINE_BYTES)
        lines = _Lines(source, self.encoding, delimiter)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            lines.begin_row()
            cells: list[str] | None = []
            error: ValueError | None = None
            try:
                cells = next(reader, None)
            except csv.Error as problem:
                error = _explained(problem)
            except ValueError as problem:
                error = problem
            if cells is None:
                return
            if error and len(lines.taken) > 1:
                lines.give_back()
                error = ValueError(_NEVER_CLOSED)
            error = error or lines.problem
            end_of_row = start + sum(size for _, size, _ in lines.taken)
            if cells or error:
                yield _Record(number, start, end_of_row, cells, lines.taken, error, lines.free)
            start, number = end_of_row, number + len(lines.taken)

    def _likely_delimiter(self, path: str, file: BinaryIO) -> str:
        if files.has_suffix(path, (".tsv", ".tsv.gz")):
            return "\t"
        if self.names is not None:
            return ","
        file.seek(0)
        line = file.readline(_DELIMITER_BYTES).decode(self.encoding, "replace")
        return max(_DELIMITERS, key=_QUOTED.sub("", line).count)

    def _row(self, record: _Record, origin: str, names: Sequence[str]) -> Row:
        error = record.error
        if not error and len(record.cells) != len(names):
            error = ValueError(f"expected {len(names)} cells; found {len(record.cells)}")
        if not error:
            return Row(origin, {name: cell or None for name, cell in zip(names, record.cells, strict=True)})
        raw = record.raw().rstrip(b"\r\n")
        with contextlib.suppress(ValueError):  # a line of another encoding, or one that is too large
            return Row(origin, None, inputs.text_of(raw, self.encoding), error)
        return Row(origin, None, raw, error)


class CsvSink(Sink):
    """Comma-separated values with a line of names: texts in double quotes, lists as JSON in quotes, null as nothing.

    A spreadsheet takes a text for a formula that begins with =, +, - or @, or with a tab or line end before one, and
    may run it: it can read other cells, fetch addresses, or start programs. Captions and ids are strangers' texts, so
    let "escape" write files that people open with one, and open them with the comma as the only delimiter. Numbers stay
    numbers, and lists begin with a bracket, which begins no formula.

    Source: OWASP, "CSV injection".

    Args:
        formulas: "keep" writes texts as they are; "escape" puts an apostrophe before those that begin as a formula may,
            and before those that begin with an apostrophe, so that reading the file gives the texts back as they were.
    """

    suffix = ".csv"

    def __init__(self, *, formulas: Literal["keep", "escape"] = "keep") -> None:
        self.formulas = formulas

    def dumps(self, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, LabelType]) -> bytes:
        """The file; columns in the schema's order."""
        lines = [[_quoted(self._harmless(name)) for name in schema]]
        lines += [[self._cell(row.get(name), kind) for name, kind in schema.items()] for row in rows]
        return "".join(",".join(line) + "\n" for line in lines).encode()

    def loads(self, data: bytes, schema: Mapping[str, LabelType]) -> list[dict[str, Any]]:
        """The rows."""
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


def _explained(error: csv.Error) -> ValueError:
    """What Python's reader says, for those who do not call it."""
    message = describe(error)
    if message.startswith("field larger than field limit"):
        message = f"a cell is longer than {MAX_CELL:,} characters"
    elif message == "unexpected end of data":
        message = _NEVER_CLOSED
    elif message.startswith("new-line character seen in unquoted field"):
        message = "a carriage return stands in the middle of the line"
    return ValueError(message)


def _cell(value: Any, kind: LabelType) -> str:
    value = inputs.label(value, kind)
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
