"""Plan how to read a row group of a Parquet file within a bound on memory, before Arrow reads it.

A few bytes of Parquet can expand to a lot: a dictionary may repeat a large value, texts may be stored as differences
from the one before, and runs repeat values. Arrow expands all of that for as many rows as are requested; so the largest
possible size of a page is computed from its header, and only as many rows are requested at a time as fit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow.parquet

from mmstream_io import limits
from mmstream_io.levels import check_lengths, content_of, rows_of
from mmstream_io.pages import (
    DELTA_LENGTHS,
    DELTA_TEXTS,
    DICTIONARY,
    PLAIN,
    PLAIN_DICTIONARY,
    RLE_DICTIONARY,
    Page,
    Pages,
    pages_of,
)

BATCH_BYTES = 64 * 1024 * 1024
"""Rows that take at most this much are read together."""
MAX_PAGES_BYTES = 256 * 1024 * 1024
"""Limit on the largest pages of a row group's columns together, unpacked, with dictionaries counted twice."""
MAX_FULL_PAGES_BYTES = 1024 * 1024 * 1024
"""The same limit, with dictionaries counted once, if the pages take at least half as much in the file: pyarrow itself
writes a thousand pictures into one page."""
MAX_EXPANDED_BYTES = 128 * 1024 * 1024
"""Limit on a row that refers to large values of a dictionary, or whose texts are stored as differences."""
MAX_PAGE_VALUES = 16 * 1024 * 1024
"""Limit on the values of a page of lists."""
_COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of rows that may be read at a time."""
_SMALL = 16 * 1024 * 1024
"""A column of lists of fewer bytes is read without looking at its rows one by one."""
_SHORT, _QUICK = 64 * 1024, 8 * 1024 * 1024
"""The values of a dictionary are measured if one may be longer than the first number; if the dictionary has more bytes
than the second, only if the rows could not be read otherwise."""
_unpack_length = struct.Struct("<I").unpack_from
_NUMBER = 16
"""The most bytes of a number, with its levels."""


class Plan(NamedTuple):
    """How to read a row group.

    Attributes:
        rows: to read at a time.
        readable: how many rows can be read, from the first on.
        problem: why no more can be.
    """

    rows: int
    readable: int
    problem: str


class _UnreadableError(ValueError):
    """A row group cannot be read from some row on.

    Attributes:
        readable: how many rows precede that row.
    """

    def __init__(self, problem: str, readable: int = 0) -> None:
        super().__init__(problem)
        self.readable = readable


class _Column:
    """A column of a row group.

    Args:
        file: opened in binary.
        about: Arrow's metadata of the column in this row group.
        schema: Arrow's schema of the column.
    """

    def __init__(self, file: BinaryIO, about: Any, schema: Any) -> None:
        self._file = file
        self._codec = about.compression
        self._repeats, self._defines = schema.max_repetition_level, schema.max_definition_level
        self._texts = schema.physical_type == "BYTE_ARRAY"
        self._each = schema.length if schema.physical_type == "FIXED_LEN_BYTE_ARRAY" else _NUMBER
        self.pages: Pages = pages_of(file, _start_of(about), about.num_values)
        dictionary = self.pages.dictionary
        self.longest = max(0, dictionary.unpacked - 4 * dictionary.values) if dictionary and self._texts else 0
        self._measured = False
        self.values: dict[int, int] = {count: count for count in _COUNTS}

    def largest_pages(self) -> list[Page]:
        """The largest pages that are in memory at the same time."""
        dictionary = [self.pages.dictionary] if self.pages.dictionary else []
        return [*dictionary, *sorted(self.pages.data, key=lambda page: page.unpacked)[-1:]]

    def readable(self) -> int | None:
        """The number of rows before the first page that cannot be read; None if all pages can be."""
        if self.pages.whole:
            return None
        return 0 if self._repeats else sum(page.values for page in self.pages.data)

    def measure_dictionary(self, most: int) -> None:
        """Find the length of the longest value of the dictionary, unless the dictionary has more than `most` bytes."""
        dictionary = self.pages.dictionary
        if not dictionary or dictionary.unpacked > most or dictionary.values > limits.MAX_VALUES:
            return
        if self.longest <= _SHORT or self._measured:
            return
        self._measured = True
        content = content_of(self._file, dictionary, self._codec)
        place = longest = 0
        for _ in range(dictionary.values):  # each begins with its length; a plan spends much time here
            length = _unpack_length(content, place)[0]
            if length > longest:
                longest = length
            place += 4 + length
        self.longest = min(self.longest, longest)

    def check_pages(self) -> None:
        """Read pages whose headers do not show how large they get in memory.

        Raises:
            ValueError: a page is damaged, or too large.
        """
        if self._texts:
            for page in self.pages.data:
                if page.encoding in (DELTA_LENGTHS, DELTA_TEXTS):
                    check_lengths(page, content_of(self._file, page, self._codec), self._repeats, self._defines)
        whole = sum(self._cost(page, page.values) for page in self.pages.data)
        count = sum(page.values for page in self.pages.data)
        if not self._repeats:
            return
        if whole <= _SMALL and count <= limits.MAX_VALUES:
            self.values = dict.fromkeys(_COUNTS, count)
            return
        largest = max(page.values for page in self.pages.data)
        if largest > MAX_PAGE_VALUES:
            raise _UnreadableError(f"a page of lists holds {largest:,} values; the limit is {MAX_PAGE_VALUES:,}")
        spread = rows_of(self._contents(), self._repeats, _COUNTS, limits.MAX_VALUES)
        self.values = spread.most
        if spread.readable is not None:
            many = f"row {spread.readable + 1:,} of the group holds up to {spread.most[1]:,} values"
            raise _UnreadableError(
                f"a row holds more than the limit of {limits.MAX_VALUES:,} values ({many})",
                max(0, spread.readable - 1),  # Arrow reads the next row to see where one ends
            )

    def most_bytes(self, rows: int, *, expanded: bool = False) -> int:
        """The most bytes that `rows` consecutive rows take.

        Args:
            rows: how many.
            expanded: count only what is not stored in the file as it is.
        """
        values, pages = self.values[rows], self.pages.data
        before = [0]  # values before each page
        for page in pages:
            before.append(before[-1] + page.values)
        start = total = most = 0
        for end, page in enumerate(pages):
            total += self._cost(page, values, expanded=expanded)
            while start < end and before[end] - before[start + 1] > values - 2:  # those in between hold too many
                total -= self._cost(pages[start], values, expanded=expanded)
                start += 1
            most = max(most, total)
        return most

    def _cost(self, page: Page, values: int, *, expanded: bool = False) -> int:
        """The most bytes that `values` values of a page take."""
        values = min(values, page.values)
        if not self._texts:
            return values * self._each
        if page.encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY):
            return values * (self.longest + _NUMBER)
        plain = page.unpacked + values * _NUMBER
        if page.encoding in (PLAIN, DELTA_LENGTHS):
            return 0 if expanded else plain
        return values * page.unpacked

    def _contents(self) -> Iterator[tuple[Page, bytes]]:
        return ((page, content_of(self._file, page, self._codec)) for page in self.pages.data)


def plan_of(file: BinaryIO, table: pyarrow.parquet.ParquetFile, group: int) -> Plan:
    """Plan how to read a row group.

    Args:
        file: opened in binary.
        table: the same file, opened by Arrow.
        group: number of the row group.
    """
    about = table.metadata.row_group(group)
    try:
        columns = [_Column(file, about.column(n), table.schema.column(n)) for n in range(about.num_columns)]
        _check_pages(columns)
        rows = _rows_at_a_time(columns)
    except _UnreadableError as error:
        return Plan(1, error.readable, str(error))
    except (ValueError, struct.error) as error:
        return Plan(1, 0, str(error))
    readable = [count for column in columns if (count := column.readable()) is not None]
    if readable:
        return Plan(1, min(readable), "the header of a page cannot be read")
    return Plan(rows, about.num_rows, "it holds fewer rows than the file says")


def _check_pages(columns: Sequence[_Column]) -> None:
    """Check that the largest pages fit into memory together.

    Raises:
        _UnreadableError: they do not.
    """
    pages = [page for column in columns for page in column.largest_pages()]
    unpacked, packed = sum(page.unpacked for page in pages), sum(page.packed for page in pages)
    most = MAX_FULL_PAGES_BYTES
    if unpacked > 2 * packed:
        unpacked += sum(page.unpacked for page in pages if page.kind == DICTIONARY)
        most = MAX_PAGES_BYTES
    if unpacked > most:
        raise _UnreadableError(
            f"its pages take up {unpacked:,} bytes of memory once they are unpacked; the limit is {most:,}, so "
            "write smaller pages"
        )


def _rows_at_a_time(columns: Sequence[_Column]) -> int:
    """The number of rows that fit into memory together.

    Raises:
        _UnreadableError: from some row on, not even one does.
        ValueError: a page is damaged.
    """
    if _COUNTS[-1] * sum(column.longest for column in columns) > BATCH_BYTES:
        for column in columns:
            column.measure_dictionary(_QUICK)
    problems = []
    for column in columns:
        try:
            column.check_pages()
        except _UnreadableError as error:
            problems.append(error)
    if problems:
        raise min(problems, key=lambda error: error.readable)
    if (expanded := _expanded_row(columns)) > MAX_EXPANDED_BYTES:
        for column in columns:
            column.measure_dictionary(MAX_FULL_PAGES_BYTES)
        expanded = _expanded_row(columns)
    if expanded > MAX_EXPANDED_BYTES:
        raise _UnreadableError(
            f"a row could expand to {expanded:,} bytes in memory, because it refers to large values repeatedly; the "
            f"limit is {MAX_EXPANDED_BYTES:,}"
        )
    fitting = (n for n in reversed(_COUNTS) if sum(column.most_bytes(n) for column in columns) <= BATCH_BYTES)
    return next(fitting, 1)


def _expanded_row(columns: Sequence[_Column]) -> int:
    """The most bytes that a row takes, not counting what its pages store as it is."""
    return sum(column.most_bytes(1, expanded=True) for column in columns)


def _start_of(about: Any) -> int:
    """The byte at which the first page of a column begins, as Arrow determines it."""
    data, dictionary = about.data_page_offset, about.dictionary_page_offset
    return dictionary if about.has_dictionary_page and dictionary and 0 < dictionary < data else data
