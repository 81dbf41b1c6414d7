"""Comma- and tab-separated values, with the names of the columns in the first line."""

from __future__ import annotations

import contextlib
import csv
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import BinaryIO, NamedTuple

from mmstream.errors import MmstreamError, brief, describe, listed
from mmstream.interfaces import Row, Source, Split, Suggestion
from mmstream_io import conversion, inputs, limits
from mmstream_io.csv_start import Start, open_text, start_of
from mmstream_io.encodings import Told, encoding_of_files
from mmstream_io.hive import with_folder_columns
from mmstream_io.open_quotes import Again

SPLIT_BYTES = 8 * 1024 * 1024
MAX_LINE_BYTES = limits.MAX_ROW_BYTES
MAX_QUOTED_BYTES = 256 * 1024
"""If a row is longer than this and still inside quotes, its quote counts as never closed."""
MAX_CELL = 16 * 1024 * 1024
"""Limit on the characters of a cell; each takes four bytes in Python's reader."""
_MARK = "\ufeff"
"""The byte order mark; it also occurs inside a file that was concatenated from several."""
_NEVER_CLOSED = "a quote is opened and never closed"

csv.field_size_limit(MAX_CELL)


_Line = tuple[bytes, int, bool]
"""A line as `inputs.lines_of` yields it."""


class _Record(NamedTuple):
    """A row of a file.

    Attributes:
        line: number of the row's first line, from 1.
        start: position of its first byte.
        end: position after its last byte.
        cells: texts of its cells; none if it cannot be read.
        lines: of the row, as `inputs.lines_of` yields them.
        error: why it cannot be read.
        free: whether nothing before it affects how it is read.
    """

    line: int
    start: int
    end: int
    cells: list[str]
    lines: list[_Line]
    error: ValueError | None
    free: bool

    def raw(self) -> bytes:
        """The row's bytes; only the first ones of a line that is too long."""
        return b"".join(line if whole else line[: limits.RAW_BYTES] for line, _, whole in self.lines)


class _Lines:
    """Passes a file's lines to Python's reader, and keeps those that it took for the current row.

    Attributes:
        taken: lines of the current row so far, as `inputs.lines_of` yields them.
        problem: why one of them is not valid text.
        free: whether nothing before the row affects how it is read.
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
            text = conversion.text_of(line, self._encoding)
        except UnicodeDecodeError as error:  # the end of the row can be found all the same
            self.problem = self.problem or error
            text = line.decode(self._encoding, "replace")
        if len(text) > limits.MAX_VALUES and text.count(self._delimiter) > limits.MAX_VALUES:
            raise ValueError(f"the line holds more than the limit of {limits.MAX_VALUES:,} delimiters")
        return text

    def begin_row(self) -> None:
        """Start a new row: the lines taken so far belong to the previous one."""
        if not self.free or self._again.has_begun:
            self._again.go_on(sum(size for _, size, _ in self.taken))
            self.free = self._again.is_over()
            self._most = 1 if self._again.is_enough() else MAX_QUOTED_BYTES  # with a line taken it is full
        self._size, self.taken, self.problem = 0, [], None

    def give_back(self) -> None:
        """Put back all lines of the row but the first, to be read again."""
        self._again.note(self._size)
        self._ahead.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


class Csv(Source):
    """Reads CSV and TSV files with the names of the columns in the first line. Files may be gzipped.

    Every cell is text; an empty one is None. Blank lines are skipped. A cell in double quotes may hold the delimiter,
    line ends, and quotes (doubled). A row with too few or too many cells, with a quote that is never closed (within
    256 KiB) or closed in the middle of a cell, or that is not valid in the encoding, becomes a row with an error. No
    other row is affected: if a quote is never closed, only the line in which it opens is lost.

    If there are blanks around the names, blanks are removed from names and cells. A column without a name is named by
    its position: "Unnamed: 0", or "Unnamed: 0.1" if another column has that name. Empty cells at the end of a row that
    is too long are ignored, and so are lines before the names that begin with #. A first line "sep=;" sets the
    delimiter. A row that repeats the names becomes a row with an error. UTF-16 is recognised by its first bytes. A file
    that begins like Parquet, a zip archive or the like is refused. Folders named "key=value" become columns.

    Source: RFC 4180.

    Args:
        delimiter: between cells. If None: a tab in files that end in .tsv; in others a comma if `names` is given, or
            else whichever of comma, semicolon, tab and bar is most frequent in the first line, outside quotes.
        encoding: of the files, such as "cp1252" (Windows, western Europe), "gb18030" (Chinese) or "cp932" (Japanese).
        names: of the columns, if the first line holds none.
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
            raise ValueError(f"encoding: expected one in which a line end is a single byte; found {encoding!r}")
        if names is not None and (not names or len(set(names)) < len(names)):
            raise ValueError(f"names: expected one or more names, each of them once; found {names!r}")
        self.delimiter = delimiter
        self.encoding = encoding
        self.names = names

    @classmethod
    def suggest(cls, path: str) -> Suggestion | None:
        """Suggest an encoding, if the text is not UTF-8.

        Raises:
            MmstreamError: it cannot be determined.
        """
        told = encoding_of_files(_opened(file.path for file in inputs.find(cls(), path, "csv")))
        if told is None:
            return None
        if not told.encoding:
            raise MmstreamError(f"{path} is not UTF-8, and its bytes do not reveal its encoding: {_set_encoding(told)}")
        why = f"the text is not UTF-8; read as {told.encoding}, it contains {brief(told.example)}"
        others = f", such as {listed(told.likely[1:])}" if told.likely[1:] else ""
        return Suggestion(
            1.0, {"encoding": told.encoding}, f"{why}; if that is wrong, set `encoding` in `source` to another{others}"
        )

    def splits(self, path: str) -> list[Split]:
        """Pieces of about 8 MiB, divided between rows; a gzipped file is a single piece.

        Raises:
            MmstreamError: a file cannot be read, or its first line names no columns.
        """
        return [split for file in inputs.find(self, path, "csv") for split in self._cut(file)]

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is "<file>:<line>", where <line> is the row's first line."""
        return with_folder_columns(self._read(split), split.origin)

    def _read(self, split: Split) -> Iterator[Row]:
        with open_text(split.path, self.encoding) as (file, _):
            begin = self._start(split.path, file)
            names = self._header(split.path, self._records(file, begin, begin.place, None, begin.line))
            for record in self._records(file, begin, split.start, split.end, split.first):
                yield self._row(record, f"{split.origin}:{record.line}", names)

    def _cut(self, file: inputs.InputFile) -> Iterator[Split]:
        start = end = first = rows = 0
        with open_text(file.path, self.encoding) as (opened, from_start):
            most = math.inf if from_start else inputs.piece_bytes(file.path, SPLIT_BYTES)
            begin = self._start(file.path, opened)
            records = self._records(opened, begin, begin.place, None, begin.line)
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

    def _start(self, path: str, file: BinaryIO) -> Start:
        return start_of(path, file, self.encoding, self.delimiter, named=self.names is not None)

    def _header(self, path: str, records: Iterator[_Record]) -> list[str]:
        """The names of the columns; the line that holds them is taken from `records`."""
        if self.names is not None:
            return self.names
        record = next(records, None)
        if record is None:
            return []
        if isinstance(record.error, UnicodeDecodeError):
            told = encoding_of_files(_opened([path]))
            likely = _set_encoding(told) if told else "repair that line, or set `encoding` in `source`"
            raise MmstreamError(f"{path}: the first line, which names the columns, is not {self.encoding}: {likely}")
        if record.error:
            raise MmstreamError(f"{path}: the first line names no columns: {describe(record.error)}")
        names = _names(record.cells)
        inputs.check_names(path, names, "the first line names", "; if it is a row, set `names` in `source`")
        return names

    def _records(self, file: BinaryIO, begin: Start, start: int, end: int | None, number: int) -> Iterator[_Record]:
        """The rows from byte `start` on, without blank lines."""
        file.seek(start)
        source = inputs.lines_of(file, None if end is None else end - start, MAX_LINE_BYTES)
        lines = _Lines(source, self.encoding, begin.delimiter)
        reader = csv.reader(lines, delimiter=begin.delimiter, strict=True, skipinitialspace=begin.padded)
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
            if begin.padded and cells:
                cells = [cell.strip(" ") for cell in cells]
            if cells or error:
                yield _Record(number, start, end_of_row, cells, lines.taken, error, lines.free)
            start, number = end_of_row, number + len(lines.taken)

    def _row(self, record: _Record, origin: str, names: Sequence[str]) -> Row:
        error, cells = record.error, record.cells
        if not error:
            if len(cells) > len(names) and any(cells) and not any(cells[len(names) :]):
                cells = cells[: len(names)]
            if len(cells) != len(names):
                error = ValueError(f"expected {len(names)} cells; found {len(cells)}")
            elif self.names is None and len(cells) > 1 and cells[-1] == names[-1] and _names(cells) == names:
                error = ValueError("the line repeats the names of the columns")
            else:
                return Row(origin, {name: cell or None for name, cell in zip(names, cells, strict=True)})
        raw = record.raw().rstrip(b"\r\n")
        with contextlib.suppress(ValueError):  # a line of another encoding, or one that is too large
            return Row(origin, None, conversion.text_of(raw, self.encoding), error)
        return Row(origin, None, raw, error)


def _names(cells: Sequence[str]) -> list[str]:
    """The names of columns, from the line that holds them; a column without a name is named by its position."""
    names = [cell.removeprefix(_MARK).strip() for cell in cells]
    taken = set(names)
    for place, name in enumerate(names):
        if not name:
            free = (f"Unnamed: {place}{f'.{number}' if number else ''}" for number in count())
            names[place] = next(name for name in free if name not in taken)
            taken.add(names[place])
    return names


def _opened(paths: Iterable[str]) -> Iterator[BinaryIO]:
    for path in paths:
        with open_text(path, "utf-8") as (file, _):
            yield file


def _set_encoding(told: Told) -> str:
    return (
        f"set `encoding` in `source`, likely to {listed(told.likely)}" if told.likely else "set `encoding` in `source`"
    )


def _explained(error: csv.Error) -> ValueError:
    """Explain an error of Python's reader to somebody who does not know that reader."""
    message = describe(error)
    if message.startswith("field larger than field limit"):
        message = f"a cell is longer than {MAX_CELL:,} characters"
    elif message == "unexpected end of data":
        message = _NEVER_CLOSED
    elif message.startswith("new-line character seen in unquoted field"):
        message = "a carriage return is in the middle of the line (if all lines end like that: tr '\\r' '\\n')"
    return ValueError(message)
