"""JSON Lines: one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmstream.interfaces import LabelType, Row, Sink, Source, Split
from mmstream.records.record import json_line
from mmstream_io import conversion, inputs, limits
from mmstream_io.hive import with_folder_columns

SPLIT_BYTES = 8 * 1024 * 1024
MAX_LINE_BYTES = limits.MAX_ROW_BYTES
_BLANK = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Jsonl(Source):
    """Reads files of JSON objects, one per line; blank lines are skipped. Files may be gzipped. Folders named
    "key=value" become columns.

    A line that is not valid UTF-8, not JSON or not an object becomes a row with an error; so does one that is longer
    than 64 MiB, holds more than 1,048,576 values or an object of more than 16,384 keys, has a key twice, or has NaN,
    which is not JSON.

    Source: https://jsonlines.org
    """

    suffixes = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

    def splits(self, path: str) -> list[Split]:
        """Pieces of about 8 MiB, divided at line ends; a gzipped file is a single piece.

        Raises:
            MmstreamError: a file cannot be read.
        """
        return [split for file in inputs.find(self, path, "jsonl") for split in _cut(file)]

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is "<file>:<line>"."""
        return with_folder_columns(self._read(split), split.origin)

    def _read(self, split: Split) -> Iterator[Row]:
        number = split.first
        with inputs.open_file(split.path) as file:
            file.seek(split.start)
            for line, _, whole in inputs.lines_of(file, split.end - split.start, MAX_LINE_BYTES):
                if line.strip(_BLANK):
                    yield _row(f"{split.origin}:{number}", line, whole)
                number += 1


class JsonlSink(Sink):
    """Writes one JSON object per line, its keys sorted."""

    suffix = ".jsonl"

    def dumps(self, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, LabelType]) -> bytes:
        """The content of the file; every row has every column of the schema, null where it lacks one."""
        columns = ({name: conversion.label(row.get(name), kind) for name, kind in schema.items()} for row in rows)
        return "".join(f"{json_line(row)}\n" for row in columns).encode()

    def loads(self, data: bytes, schema: Mapping[str, LabelType]) -> list[dict[str, Any]]:
        """The rows in a file's content."""
        return [json.loads(line) for line in data.decode().split("\n") if line]


def _cut(file: inputs.InputFile) -> Iterator[Split]:
    """Splits of a file: every line belongs to the split in which it begins. A byte order mark belongs to none."""
    most = inputs.piece_bytes(file.path, SPLIT_BYTES)
    with inputs.open_file(file.path) as opened:
        marked = opened.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK
        start = position = len(_BYTE_ORDER_MARK) if marked else 0
        opened.seek(start)
        first = number = 1
        rows = 0
        for line, taken, _ in inputs.lines_of(opened, None, MAX_LINE_BYTES):
            position += taken
            number += 1
            rows += bool(line.strip(_BLANK))
            if position - start >= most:
                yield Split(file.path, rows, file.origin, first, start, position)
                start, first, rows = position, number, 0
        if position > start:
            yield Split(file.path, rows, file.origin, first, start, position)


def _row(origin: str, line: bytes, whole: bool) -> Row:
    if not whole:
        error = ValueError(f"the line is longer than {MAX_LINE_BYTES:,} bytes")
        return Row(origin, None, line[: limits.RAW_BYTES], error)
    line = line.rstrip(b"\r\n")
    raw: bytes | str = line
    try:
        raw = text = conversion.text_of(line)
        columns = conversion.parse_json(text)
        if not isinstance(columns, dict):
            raise ValueError(f"expected a JSON object; found {type(columns).__name__}")
    except ValueError as error:  # malformed JSON and malformed UTF-8 are ValueErrors
        return Row(origin, None, raw, error)
    return Row(origin, columns)
