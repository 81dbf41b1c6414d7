"""Items: each row of an input as a record, or as a dead letter that says why it is not one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any

from mmstream.errors import RecordError, brief, describe
from mmstream.inputs.input import Input, Piece, rows_of
from mmstream.interfaces import Row
from mmstream.records.inline import is_inline
from mmstream.records.record import DUPLICATE, DeadLetter, Record, dead_letter, digest_of, origin_key, printable
from mmstream.records.spool import LARGE_BYTES, spool

SAMPLE_ROWS = 100
_LONG_TEXT = LARGE_BYTES // 4
"""In characters; whether a longer text counts as large depends on its bytes."""
_LONGEST_ID = 16 * 1024
"""In bytes; each result of a record holds a copy of its id."""


def sample(job_input: Input, pieces: Sequence[Piece]) -> list[Mapping[str, Any]]:
    """Return the columns of the first readable rows of an input."""
    return columns_of(rows_of(job_input, pieces), job_input)


def columns_of(rows: Iterable[Row], job_input: Input) -> list[Mapping[str, Any]]:
    """Return the columns of the first readable rows, with large values cut off."""
    readable = (_renamed(glimpse(row.columns), job_input) for row in rows if row.columns is not None)
    return list(islice(readable, SAMPLE_ROWS))


def glimpse(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Cut off large texts and bytes in a row, for samples that are kept in memory."""
    return {
        name: value[:LARGE_BYTES] if isinstance(value, str | bytes) and len(value) > LARGE_BYTES else value
        for name, value in columns.items()
    }


def check_row(row: Row, job_input: Input) -> Record | DeadLetter:
    """Turn a row into a record, or into a dead letter that says why it is not one."""
    if row.error is not None or row.columns is None:
        error = row.error or ValueError("the source returned neither a row nor an error")
        raw = printable(row.raw)
        item: Record | DeadLetter = DeadLetter(
            origin=row.origin,
            stage="read",
            component=f"source:{job_input.use}",
            error=type(error).__name__,
            message=describe(error),
            row=raw,
            digest=digest_of(raw),
        )
    elif job_input.id is None:
        item = Record(row.origin, row.origin, _renamed(row.columns, job_input))
    else:
        item = record_of(_renamed(row.columns, job_input), job_input.id, row.origin)
    return dataclasses.replace(item, input=job_input.number) if isinstance(item, DeadLetter) else item


def record_of(columns: Mapping[str, Any], id_column: str, origin: str) -> Record | DeadLetter:
    """Turn a row into a record, or into a dead letter if it has no valid id.

    Args:
        columns: the row's columns.
        id_column: the column that holds the id.
        origin: where the row is; "" for a row from a program, whose id serves as its origin.
    """
    value = columns.get(id_column)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and value.strip():
        try:
            size = len(value.encode("utf-8"))
        except UnicodeEncodeError as error:
            return _bad_id(origin, columns, describe(error))
        if size > _LONGEST_ID:
            return _bad_id(origin, columns, f"the id has {size:,} bytes; the limit is {_LONGEST_ID:,}")
        return Record(value, origin or value, columns)
    what = "nothing" if value is None else repr(value)
    return _bad_id(origin, columns, f"the id column {id_column!r} needs text or a whole number; found {what:.80}")


def first_of_each(
    items: Iterable[Record | DeadLetter], standing: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[Record], list[DeadLetter]]:
    """Return a part's records, sorted by id, and its dead letters; of equal ids, only the first by origin is a record.

    Args:
        items: the items of the part.
        standing: ids already taken by rows elsewhere, with their origins; records with such an id become dead letters.
    """
    records: dict[str, Record] = {}
    equal: dict[str, list[Record]] = {}
    letters = []
    for item in items:
        if isinstance(item, DeadLetter):
            letters.append(item)
        elif item.id in standing:
            letters.append(_duplicate(item, standing[item.id]))
        elif (earlier := records.setdefault(item.id, item)) is not item:
            equal.setdefault(item.id, [earlier]).append(item)
    for key, others in equal.items():
        first, *rest = sorted(others, key=lambda record: origin_key(record.origin))
        records[key] = first
        letters += [_duplicate(record, first.origin) for record in rest]
    return [records[key] for key in sorted(records)], letters


def without_media(record: Record, reads: Mapping[str, bool], folder: str) -> Record:
    """Make a record small enough for a shuffle: references replace large texts, media, and bytes that are not read.

    Its digest and dead letter stay the same.

    Args:
        record: the record as it was read.
        reads: the columns that are read, and whether each is read as media.
        folder: where the replaced values are spooled; "" for a pass that does not need them.
    """
    replaced: dict[str, Any] = {
        column: spool(value, folder if column in reads else "")
        for column, value in record.columns.items()
        if isinstance(value, bytes) and reads.get(column, True)
    }
    for column, value in record.columns.items():
        if isinstance(value, str) and len(value) > _LONG_TEXT:
            data = value.encode("utf-8", "surrogatepass")
            if len(data) > LARGE_BYTES:
                is_read = column in reads and (not reads[column] or is_inline(value))
                replaced[column] = spool(data, folder if is_read else "", is_text=True)
    return dataclasses.replace(record, columns={**record.columns, **replaced}) if replaced else record


def item_of(row: Row, job_input: Input, reads: Mapping[str, bool], folder: str) -> Record | DeadLetter:
    """Turn a row into a record without its media (`without_media`), or into a dead letter that says why not."""
    checked = check_row(row, job_input)
    return without_media(checked, reads, folder) if isinstance(checked, Record) else checked


def _duplicate(record: Record, origin: str) -> DeadLetter:
    error = RecordError(f"the id {brief(record.id)} stands already at {origin}", stage="check", error=DUPLICATE)
    return dead_letter(record, error, digest_of(record.columns), "")


def _renamed(columns: Mapping[str, Any], job_input: Input) -> dict[str, Any]:
    renamed = dict(columns)
    for name, original in job_input.rename.items():
        renamed[name] = columns.get(original)
    return renamed


def _bad_id(origin: str, columns: Mapping[str, Any], message: str) -> DeadLetter:
    raw = printable(columns)
    return DeadLetter(origin=origin, stage="check", error="MissingId", message=message, row=raw, digest=digest_of(raw))
