"""JSON Lines: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from mmstream import files
from mmstream.errors import MmstreamError
from mmstream.interfaces import Row, Source, Split

SPLIT_BYTES = 8 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024
_RAW_BYTES = 1024
_BLOCK_BYTES = 1024 * 1024
_BLANK = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Jsonl(Source):
    """Reads a file of JSON objects, one a line; blank lines are passed over.

    A line that is not valid UTF-8, not JSON or not an object becomes a row with an error; so does one that is longer
    than 64 MiB, or that says a key twice or NaN, which JSON does not have.
    """

    suffixes = (".jsonl", ".ndjson")

    def splits(self, path: str) -> list[Split]:
        """Pieces of about 8 MiB, cut at line ends.

        Raises:
            MmstreamError: the file cannot be read.
        """
        if files.is_folder(path):
            raise MmstreamError(f"{path} is a folder; the source 'jsonl' reads a file")
        try:
            with files.open_read(path) as file:
                return list(_cut(path, file))
        except OSError as error:
            raise MmstreamError(f"cannot read {path}: {error.strerror or error}") from error

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is "<file name>:<line>"."""
        name = files.name(split.path).encode("utf-8", "backslashreplace").decode()
        with files.open_read(split.path) as file:
            file.seek(split.start)
            for number, line, whole in _lines(file, split.end - split.start, split.first):
                if line.strip(_BLANK):
                    yield _row(f"{name}:{number}", line, whole)


def _cut(path: str, file: BinaryIO) -> Iterator[Split]:
    """Splits of a file: every line belongs to the split in which it begins. A byte order mark belongs to none."""
    start = position = len(_BYTE_ORDER_MARK) if file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK else 0
    file.seek(start)
    first = number = 1
    rows = 0
    blank = True  # so far, of the line that is being read
    while block := file.read(_BLOCK_BYTES):
        begin = 0
        while begin < len(block):
            end = block.find(b"\n", begin)
            piece = block[begin : end + 1 if end >= 0 else len(block)]
            blank = blank and not piece.strip(_BLANK)
            position += len(piece)
            begin += len(piece)
            if end < 0:
                continue
            number += 1
            rows += not blank
            blank = True
            if position - start >= SPLIT_BYTES:
                yield Split(path, rows, first, start, position)
                start, first, rows = position, number, 0
    rows += not blank
    if position > start:
        yield Split(path, rows, first, start, position)


def _lines(file: BinaryIO, size: int, number: int) -> Iterator[tuple[int, bytes, bool]]:
    """(line number, line, whether it is whole) of the next `size` bytes; of a line too long only the beginning."""
    left = size
    while left > 0:
        line = file.readline(min(left, MAX_LINE_BYTES + 1))
        if not line:
            return
        left -= len(line)
        whole = line.endswith(b"\n") or len(line) <= MAX_LINE_BYTES
        yield number, line, whole
        while not whole and left > 0:
            rest = file.readline(min(left, _BLOCK_BYTES))
            left -= len(rest)
            if not rest or rest.endswith(b"\n"):
                break
        number += 1


def _row(origin: str, line: bytes, whole: bool) -> Row:
    if not whole:
        error = ValueError(f"the line is longer than {MAX_LINE_BYTES:,} bytes")
        return Row(origin, None, line[:_RAW_BYTES], error)
    line = line.rstrip(b"\r\n")
    raw: bytes | str = line
    try:
        raw = text = line.decode("utf-8")
        columns = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
        if not isinstance(columns, dict):
            raise ValueError(f"expected a JSON object; found {type(columns).__name__}")
    except ValueError as error:  # malformed JSON and malformed UTF-8 are ValueErrors
        return Row(origin, None, raw, error)
    except RecursionError:
        return Row(origin, None, raw, ValueError("the JSON is nested too deeply"))
    return Row(origin, columns)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    columns = dict(pairs)
    if len(columns) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r:.80} stands twice")
            seen.add(key)
    return columns


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
