"""Parquet: tables with types, media inside where people put them there.

It is read without Arrow's threads: one that lets go of a Python buffer while the interpreter ends aborts the process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from mmstream import files
from mmstream.alive import progress
from mmstream.errors import MmstreamError, describe
from mmstream.interfaces import LabelType, Row, Sink, Source, Split
from mmstream_io import inputs
from mmstream_io.arrow_rows import Maker, Outcome
from mmstream_io.row_groups import plan_of

SPLIT_ROWS = 10_000
MAX_FOOTER_BYTES = 32 * 1024 * 1024
"""What says where everything stands in a file may take up so much; Arrow makes some twenty times as much of it."""
_MAX_ITEMS = 1 << 17
"""Row groups, and columns with all that they are nested in, of a file."""
_ROWS_PER_BYTE = 100_000
"""A file that says that it has more rows than that for each of its bytes lies."""
_MOST_LOST = 1 << 20
"""Of more rows than this that cannot be read, one stands for the rest."""
_BUFFER_BYTES = 1024 * 1024
"""So much of a column is read ahead; without a number all of it would be."""
_TYPES = {
    "string": pyarrow.string(),
    "number": pyarrow.float64(),
    "strings": pyarrow.list_(pyarrow.string()),
    "numbers": pyarrow.list_(pyarrow.float32()),
}


class Parquet(Source):
    """Reads Parquet files.

    NaN is None; dates, times and decimals are their text; bytes that are valid UTF-8 are text. A struct of `bytes` and
    `path`, as Hugging Face's `datasets` stores images and sounds, is its bytes, or its path where it holds none. Where
    a row group is damaged, each row of it that cannot be read becomes a row with an error; so does a row with a value
    that Python cannot hold, as a text that is not UTF-8, a row of more than 64 MiB or 1,048,576 values, and each row of
    a row group whose pages take up too much memory once they are unpacked: more than 256 MiB, or, where that is no more
    than twice as much as in the file, 1 GiB.

    Source: https://parquet.apache.org/docs/file-format
    """

    suffixes = (".parquet", ".pq")

    def splits(self, path: str) -> list[Split]:
        """Pieces of whole row groups, of about 10,000 rows.

        Raises:
            MmstreamError: a file is not Parquet, has two columns of one name or too many, or cannot be true.
        """
        return [split for file in inputs.find(path, self.suffixes, "parquet") for split in _cut(file)]

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is "<file>:<number of the row>"."""
        number = split.first
        with inputs.open_file(split.path) as file, _opened(split.path, file) as table:
            for group in range(split.start, split.end):
                yield from _rows(file, table, group, split.origin, number)
                number += table.metadata.row_group(group).num_rows


class ParquetSink(Sink):
    """One Parquet file, zstd-compressed: "string" is string, "number" double, "strings" and "numbers" (float) lists."""

    suffix = ".parquet"

    def dumps(self, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, LabelType]) -> bytes:
        """The file; columns in the schema's order, null where a row lacks one."""
        arrow = pyarrow.schema([(name, _TYPES[kind]) for name, kind in schema.items()])
        table = pyarrow.Table.from_pylist(list(rows), schema=arrow)
        out = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, out, compression="zstd")
        return out.getvalue().to_pybytes()

    def loads(self, data: bytes, schema: Mapping[str, LabelType]) -> list[dict[str, Any]]:
        """The rows, of whatever schema the file has."""
        table = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data), pre_buffer=False)
        return table.read(use_threads=False).to_pylist()


def _rows(file: BinaryIO, table: pyarrow.parquet.ParquetFile, group: int, origin: str, number: int) -> Iterator[Row]:
    """The rows of a row group.

    Args:
        file: opened in binary.
        table: the same, as Arrow sees it.
        group: number of the row group.
        origin: of the file.
        number: of the first row.
    """
    plan = plan_of(file, table, group)
    end = number + table.metadata.row_group(group).num_rows
    readable, problem = number + min(plan.readable, end - number), plan.problem
    try:
        maker = Maker(table.schema_arrow)
        batches = table.iter_batches(plan.rows, row_groups=[group], use_threads=False)
        while number < readable and (batch := next(batches, None)) is not None:
            progress()
            for columns in maker.rows_of(batch if batch.num_rows <= readable - number else batch[: readable - number]):
                yield _row(f"{origin}:{number}", columns, number)
                number += 1
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the file's, and not what Arrow makes of damage
            raise
        problem = describe(error)
    last = number if end - number > _MOST_LOST else end
    for lost in range(number, max(last, min(end, number + 1))):
        more = f"; so is each row up to {end - 1}" if last < end else ""
        lacks = ValueError(f"row group {group} is damaged: {problem}{more}")
        yield Row(f"{origin}:{lost}", None, {"row_group": group, "row": lost}, lacks)


def _row(origin: str, columns: Outcome, number: int) -> Row:
    if isinstance(columns, ValueError):
        return Row(origin, None, {"row": number}, columns)
    try:
        return Row(origin, {name: inputs.plain(value) for name, value in columns.items()})
    except ValueError as error:
        return Row(origin, None, {"row": number}, error)


@contextlib.contextmanager
def _opened(path: str, file: BinaryIO) -> Iterator[pyarrow.parquet.ParquetFile]:
    """A file as Arrow sees it.

    Raises:
        MmstreamError: it is not Parquet.
    """
    _check_footer(path, file)
    source = file if files.is_remote(path) else pyarrow.OSFile(path)  # what Arrow reads itself is not copied
    try:
        table = pyarrow.parquet.ParquetFile(
            source,
            page_checksum_verification=True,
            pre_buffer=False,
            buffer_size=_BUFFER_BYTES,
            thrift_string_size_limit=MAX_FOOTER_BYTES,
            thrift_container_size_limit=_MAX_ITEMS,
        )
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise MmstreamError(f"{path} is not a Parquet file, or a damaged one: {describe(error)}") from error
    try:
        yield table
    finally:
        table.close(force=source is not file)


def _check_footer(path: str, file: BinaryIO) -> None:
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little")
    if file.read(4) == b"PAR1" and MAX_FOOTER_BYTES < length < size:
        raise MmstreamError(
            f"{path}: what says where everything stands in it takes up {length:,} bytes; at most "
            f"{MAX_FOOTER_BYTES:,} are read, so write fewer and larger row groups"
        )


def _cut(file: inputs.InputFile) -> Iterator[Split]:
    with inputs.open_file(file.path) as opened, _opened(file.path, opened) as table:
        counts = _rows_of_groups(file.path, table, opened.seek(0, 2))
    start, first, rows = 0, 1, 0
    for group, count in enumerate(counts):
        if rows and rows + count > SPLIT_ROWS:
            yield Split(file.path, rows, file.origin, first, start, group)
            start, first, rows = group, first + rows, 0
        rows += count
    if rows:
        yield Split(file.path, rows, file.origin, first, start, len(counts))


def _rows_of_groups(path: str, table: pyarrow.parquet.ParquetFile, size: int) -> list[int]:
    """How many rows each row group has.

    Raises:
        MmstreamError: the file has too many columns, two of one name, or cannot have so many rows.
    """
    metadata, names = table.metadata, table.schema_arrow.names
    inputs.check_names(path, names, "it has")
    if metadata.num_columns > inputs.MAX_COLUMNS:  # those that are nested in one count alone
        raise MmstreamError(f"{path}: it has {metadata.num_columns:,} columns; at most {inputs.MAX_COLUMNS:,} are read")
    counts = []
    for group in range(metadata.num_row_groups):
        progress()
        counts.append(metadata.row_group(group).num_rows)
    if min(counts, default=0) < 0 or sum(counts) > _ROWS_PER_BYTE * size:
        raise MmstreamError(f"{path} is damaged: it says that it has {sum(counts):,} rows in {size:,} bytes")
    return counts
