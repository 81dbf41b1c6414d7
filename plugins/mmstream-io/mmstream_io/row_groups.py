"""How a row group of a Parquet file is read within a bound on memory, decided before Arrow makes anything of it.

A few bytes of Parquet can stand for very much: a dictionary names a large value again and again, texts are kept as what
differs from the one before, and runs say how often something is repeated. Arrow makes all of that for as many rows as
it is asked for; so what a page may become at most is worked out from its header, and only so many rows are asked for at
a time as fit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow.parquet

from mmstream_io import inputs
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
"""Rows that take up no more than this are read together."""
MAX_PAGES_BYTES = 256 * 1024 * 1024
"""What the largest pages of the columns of a row group may take up together, unpacked, dictionaries counted twice."""
MAX_FULL_PAGES_BYTES = 1024 * 1024 * 1024
"""The same, dictionaries counted once, of pages that take up half as much in the file or more: pyarrow itself writes a
thousand pictures into one."""
MAX_MADE_BYTES = 128 * 1024 * 1024
"""What a row may take up that names large values of a dictionary, or texts that begin as others do."""
MAX_PAGE_VALUES = 16 * 1024 * 1024
"""Values of a page of lists."""
_COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""So many rows may be read at a time."""
_SMALL = 16 * 1024 * 1024
"""A column of lists that takes up no more than this is read whatever each row has of it."""
_SHORT, _QUICK = 64 * 1024, 8 * 1024 * 1024
"""Whether values of a dictionary are shorter than they may be is looked at where they may be longer than the former; of
a dictionary of more bytes than the latter only if nothing could be read otherwise."""
_unpack_length = struct.Struct("<I").unpack_from
_NUMBER = 16
"""Bytes that a number takes up at most, with its levels."""


class Plan(NamedTuple):
    """How a row group is read.

    Attributes:
        rows: that are read at a time.
        readable: how many can be read, from the first on.
        problem: why no more can.
    """

    rows: int
    readable: int
    problem: str


class _UnreadableError(ValueError):
    """From some row on a row group is not read.

    Attributes:
        readable: rows before.
    """

    def __init__(self, problem: str, readable: int = 0) -> None:
        super().__init__(problem)
        self.readable = readable


class _Column:
    """A column of a row group.

    Args:
        file: opened in binary.
        about: what the file says of the column in this row group.
        schema: what it says of the column.
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
        """Those that are in memory at one time, where they are largest."""
        found = [self.pages.dictionary] if self.pages.dictionary else []
        return [*found, *sorted(self.pages.data, key=lambda page: page.unpacked)[-1:]]

    def readable(self) -> int | None:
        """Rows before the first page that cannot be read; None where there is none, or where only Arrow can tell."""
        if self.pages.whole:
            return None
        return 0 if self._repeats else sum(page.values for page in self.pages.data)

    def measure_dictionary(self, most: int) -> None:
        """Find out how long the longest value of the dictionary is, if that takes up so many bytes at most."""
        dictionary = self.pages.dictionary
        if not dictionary or dictionary.unpacked > most or dictionary.values > inputs.MAX_VALUES:
            return
        if self.longest <= _SHORT or self._measured:
            return
        self._measured = True
        content = content_of(self._file, dictionary, self._codec)
        place = longest = 0
        for _ in range(dictionary.values):  # each begins with its length; this is a good part of the work of a plan
            length = _unpack_length(content, place)[0]
            if length > longest:
                longest = length
            place += 4 + length
        self.longest = min(self.longest, longest)

    def check_pages(self) -> None:
        """Look into pages where their headers do not say how much Arrow makes of them.

        Raises:
            ValueError: a page is damaged, or is not read.
        """
        if self._texts:
            for page in self.pages.data:
                if page.encoding in (DELTA_LENGTHS, DELTA_TEXTS):
                    check_lengths(page, content_of(self._file, page, self._codec), self._repeats, self._defines)
        whole = sum(self._cost(page, page.values) for page in self.pages.data)
        count = sum(page.values for page in self.pages.data)
        if not self._repeats:
            return
        if whole <= _SMALL and count <= inputs.MAX_VALUES:
            self.values = dict.fromkeys(_COUNTS, count)
            return
        largest = max(page.values for page in self.pages.data)
        if largest > MAX_PAGE_VALUES:
            raise _UnreadableError(f"a page of lists holds {largest:,} values; at most {MAX_PAGE_VALUES:,} are read")
        found = rows_of(self._contents(), self._repeats, _COUNTS, inputs.MAX_VALUES)
        self.values = found.most
        if found.readable is not None:
            many = f"row {found.readable + 1:,} of it holds {found.most[1]:,} values or fewer"
            raise _UnreadableError(
                f"a row holds more than {inputs.MAX_VALUES:,} values, which are too many to read ({many})",
                max(0, found.readable - 1),  # Arrow looks at the next row to see where one ends
            )

    def most_bytes(self, rows: int, *, made: bool = False) -> int:
        """What so many rows that follow each other take up at most.

        Args:
            rows: how many.
            made: count only what does not stand in the file as it is.
        """
        values, pages = self.values[rows], self.pages.data
        before = [0]  # values before each page
        for page in pages:
            before.append(before[-1] + page.values)
        start = total = most = 0
        for end, page in enumerate(pages):
            total += self._cost(page, values, made=made)
            while start < end and before[end] - before[start + 1] > values - 2:  # pages between hold too many
                total -= self._cost(pages[start], values, made=made)
                start += 1
            most = max(most, total)
        return most

    def _cost(self, page: Page, values: int, *, made: bool = False) -> int:
        """What so many values of a page take up at most."""
        values = min(values, page.values)
        if not self._texts:
            return values * self._each
        if page.encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY):
            return values * (self.longest + _NUMBER)
        plain = page.unpacked + values * _NUMBER
        if page.encoding in (PLAIN, DELTA_LENGTHS):
            return 0 if made else plain
        return values * page.unpacked

    def _contents(self) -> Iterator[tuple[Page, bytes]]:
        return ((page, content_of(self._file, page, self._codec)) for page in self.pages.data)


def plan_of(file: BinaryIO, table: pyarrow.parquet.ParquetFile, group: int) -> Plan:
    """How a row group is read.

    Args:
        file: opened in binary.
        table: the same, as Arrow sees it.
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
    readable = [found for column in columns if (found := column.readable()) is not None]
    if readable:
        return Plan(1, min(readable), "the header of a page cannot be read")
    return Plan(rows, about.num_rows, "it holds fewer rows than the file says")


def _check_pages(columns: Sequence[_Column]) -> None:
    """The largest pages fit into memory together.

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
            f"its pages take up {unpacked:,} bytes of memory once they are unpacked; at most {most:,} are read, so "
            "write smaller pages"
        )


def _rows_at_a_time(columns: Sequence[_Column]) -> int:
    """How many rows fit into memory together.

    Raises:
        _UnreadableError: from some row on not even one does.
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
    if (made := _made_of_a_row(columns)) > MAX_MADE_BYTES:
        for column in columns:
            column.measure_dictionary(MAX_FULL_PAGES_BYTES)
        made = _made_of_a_row(columns)
    if made > MAX_MADE_BYTES:
        raise _UnreadableError(
            f"a row may take up {made:,} bytes of memory, as large values of it are named again and again; at most "
            f"{MAX_MADE_BYTES:,} are read"
        )
    fitting = (n for n in reversed(_COUNTS) if sum(column.most_bytes(n) for column in columns) <= BATCH_BYTES)
    return next(fitting, 1)


def _made_of_a_row(columns: Sequence[_Column]) -> int:
    """Bytes that a row takes up at most, without what stands in its pages as it is."""
    return sum(column.most_bytes(1, made=True) for column in columns)


def _start_of(about: Any) -> int:
    """The byte at which the first page of a column begins, as Arrow takes it."""
    data, dictionary = about.data_page_offset, about.dictionary_page_offset
    return dictionary if about.has_dictionary_page and dictionary and 0 < dictionary < data else data
