"""Parquet: tables with types, media inside where people put them there.

It is read without Arrow's threads: one that lets go of a Python buffer while the interpreter ends aborts the process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow
import pyarrow.parquet

from mmstream.errors import MmstreamError, describe
from mmstream.interfaces import LabelType, Row, Sink, Source, Split
from mmstream_io import inputs

SPLIT_ROWS = 10_000
_BATCH_ROWS = 64
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
    that Python cannot hold, as a text that is not UTF-8.

    Source: https://parquet.apache.org/docs/file-format
    """

    suffixes = (".parquet", ".pq")

    def splits(self, path: str) -> list[Split]:
        """Pieces of whole row groups, of about 10,000 rows.

        Raises:
            MmstreamError: a file is not Parquet, or has two columns of one name.
        """
        return [split for file in inputs.find(path, self.suffixes, "parquet") for split in _cut(file)]

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is "<file>:<number of the row>"."""
        number = split.first
        with inputs.open_file(split.path) as file:
            opened = pyarrow.parquet.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
            for group in range(split.start, split.end):
                end = number + opened.metadata.row_group(group).num_rows
                problem = "it holds fewer rows than the file says"
                try:
                    for batch in opened.iter_batches(_BATCH_ROWS, row_groups=[group], use_threads=False):
                        for columns in _columns(batch):
                            yield _row(f"{split.origin}:{number}", columns, number)
                            number += 1
                except (pyarrow.ArrowException, OSError) as error:
                    problem = describe(error)
                for lost in range(number, end):
                    lacks = ValueError(f"row group {group} is damaged: {problem}")
                    yield Row(f"{split.origin}:{lost}", None, {"row_group": group, "row": lost}, lacks)
                number = end


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


def _columns(batch: pyarrow.RecordBatch) -> list[dict[str, Any] | ValueError]:
    """The rows of a batch, each alone where Python cannot hold one of them: it costs no other."""
    try:
        return batch.to_pylist()
    except (pyarrow.ArrowException, ValueError, ArithmeticError) as error:
        if batch.num_rows == 1:
            return [ValueError(f"a value cannot be read: {describe(error)}")]
        return [row for index in range(batch.num_rows) for row in _columns(batch.slice(index, 1))]


def _row(origin: str, columns: dict[str, Any] | ValueError, number: int) -> Row:
    if isinstance(columns, ValueError):
        return Row(origin, None, {"row": number}, columns)
    return Row(origin, {name: inputs.plain(value) for name, value in columns.items()})


def _cut(file: inputs.InputFile) -> Iterator[Split]:
    try:
        with inputs.open_file(file.path) as opened:
            table = pyarrow.parquet.ParquetFile(opened, pre_buffer=False)
            metadata, names = table.metadata, Counter(table.schema_arrow.names)
    except pyarrow.ArrowException as error:
        raise MmstreamError(f"{file.path} is not a Parquet file, or a damaged one: {describe(error)}") from error
    doubled = [repr(name) for name, count in names.items() if count > 1]
    if doubled:
        raise MmstreamError(f"{file.path} has a column twice: {', '.join(sorted(doubled))}")
    start, first, rows = 0, 1, 0
    for group in range(metadata.num_row_groups):
        count = metadata.row_group(group).num_rows
        if rows and rows + count > SPLIT_ROWS:
            yield Split(file.path, rows, file.origin, first, start, group)
            start, first, rows = group, first + rows, 0
        rows += count
    if rows:
        yield Split(file.path, rows, file.origin, first, start, metadata.num_row_groups)
