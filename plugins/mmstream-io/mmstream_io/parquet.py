"""Parquet: tables with types, which may hold media.

Files are read without Arrow's threads: a thread that releases a Python buffer while the interpreter ends aborts the
process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from mmstream.errors import MmstreamError, describe
from mmstream.interfaces import LabelType, Row, Sink, Source, Split
from mmstream.runtime.alive import progress
from mmstream.storage import files
from mmstream_io import conversion, inputs, limits
from mmstream_io.arrow_rows import Maker, Outcome
from mmstream_io.hive import with_folder_columns
from mmstream_io.row_groups import plan_of

SPLIT_ROWS = 10_000
MAX_FOOTER_BYTES = 32 * 1024 * 1024
"""Limit on the footer of a file, for which Arrow needs about twenty times as much memory."""
_MAX_ITEMS = 1 << 17
"""Limit on the row groups of a file, and on its columns including nested ones."""
_ROWS_PER_BYTE = 100_000
"""A file that claims more rows per byte is damaged."""
_MOST_LOST = 1 << 20
"""If more rows than this cannot be read, one row with an error stands for the rest."""
_BUFFER_BYTES = 1024 * 1024
"""How much of a column is read ahead; by default Arrow would read all of it."""
_TYPES = {
    "string": pyarrow.string(),
    "number": pyarrow.float64(),
    "strings": pyarrow.list_(pyarrow.string()),
    "numbers": pyarrow.list_(pyarrow.float32()),
}


class Parquet(Source):
    """Reads Parquet files. Folders named "key=value" become columns.

    NaN becomes None; dates, times and decimals become their text; bytes that are valid UTF-8 become text; a 32-bit
    float becomes the shortest decimal that represents it: 0.1, not 0.10000000149011612. A struct of `bytes` and `path`,
    in which Hugging Face's `datasets` stores images and sounds, becomes its bytes, or its path if it holds no bytes. In
    a damaged row group, each row that cannot be read becomes a row with an error. So does a row with a value that
    Python cannot hold, such as a text that is not UTF-8; a row of more than 64 MiB or 1,048,576 values; and each row of
    a row group whose pages take too much memory when unpacked: more than 256 MiB, or more than 1 GiB if that is at most
    twice their size in the file.

    Source: https://parquet.apache.org/docs/file-format
    """

    suffixes = (".parquet", ".pq")

    def splits(self, path: str) -> list[Split]:
        """Pieces of whole row groups, of about 10,000 rows.

        Raises:
            MmstreamError: a file is not Parquet, has two columns of one name or too many columns, or makes claims that
                cannot be true.
        """
        return [split for file in inputs.find(self, path, "parquet") for split in _cut(file)]

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is "<file>:<number of the row>"."""
        return with_folder_columns(self._read(split), split.origin)

    def _read(self, split: Split) -> Iterator[Row]:
        number = split.first
        with inputs.open_file(split.path) as file, _opened(split.path, file) as table:
            for group in range(split.start, split.end):
                yield from _rows(file, table, group, split.origin, number)
                number += table.metadata.row_group(group).num_rows


class ParquetSink(Sink):
    """Writes zstd-compressed Parquet: "string" is string, "number" double, "strings" and "numbers" (float) lists."""

    suffix = ".parquet"

    def dumps(self, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, LabelType]) -> bytes:
        """The content of the file; columns are in the schema's order, null where a row lacks one."""
        arrow = pyarrow.schema([(name, _TYPES[kind]) for name, kind in schema.items()])
        table = pyarrow.Table.from_pylist(list(rows), schema=arrow)
        out = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, out, compression="zstd")
        return out.getvalue().to_pybytes()

    def loads(self, data: bytes, schema: Mapping[str, LabelType]) -> list[dict[str, Any]]:
        """The rows in a file's content, whatever its schema."""
        table = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data), pre_buffer=False)
        return table.read(use_threads=False).to_pylist()


def _rows(file: BinaryIO, table: pyarrow.parquet.ParquetFile, group: int, origin: str, number: int) -> Iterator[Row]:
    """The rows of a row group.

    Args:
        file: opened in binary.
        table: the same file, opened by Arrow.
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
        if isinstance(error, OSError) and error.errno is not None:  # of the file, not of damaged content
            raise
        problem = describe(error)
    last = number if end - number > _MOST_LOST else end
    for lost in range(number, max(last, min(end, number + 1))):
        more = f"; so are all rows up to {end - 1}" if last < end else ""
        lacks = ValueError(f"row group {group} is damaged: {problem}{more}")
        yield Row(f"{origin}:{lost}", None, {"row_group": group, "row": lost}, lacks)


def _row(origin: str, columns: Outcome, number: int) -> Row:
    if isinstance(columns, ValueError):
        return Row(origin, None, {"row": number}, columns)
    try:
        return Row(origin, {name: conversion.plain(value) for name, value in columns.items()})
    except ValueError as error:
        return Row(origin, None, {"row": number}, error)


@contextlib.contextmanager
def _opened(path: str, file: BinaryIO) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Open a file with Arrow.

    Raises:
        MmstreamError: it is not Parquet.
    """
    _check_footer(path, file)
    source = file if files.is_remote(path) else pyarrow.OSFile(path)  # Arrow reads this without a copy
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
        raise MmstreamError(f"{path} is not a Parquet file, or is damaged: {describe(error)}") from error
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
            f"{path}: its footer takes up {length:,} bytes; the limit is "
            f"{MAX_FOOTER_BYTES:,}, so write fewer and larger row groups"
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
    """The number of rows of each row group.

    Raises:
        MmstreamError: the file has too many columns or two of one name, or says that it has more rows than it can have.
    """
    metadata, names = table.metadata, table.schema_arrow.names
    inputs.check_names(path, names, "it has")
    if metadata.num_columns > limits.MAX_COLUMNS:  # nested columns count one by one
        raise MmstreamError(f"{path}: it has {metadata.num_columns:,} columns; the limit is {limits.MAX_COLUMNS:,}")
    counts = []
    for group in range(metadata.num_row_groups):
        progress()
        counts.append(metadata.row_group(group).num_rows)
    if min(counts, default=0) < 0 or sum(counts) > _ROWS_PER_BYTE * size:
        raise MmstreamError(f"{path} is damaged: it claims to have {sum(counts):,} rows in {size:,} bytes")
    return counts
