"""A sample of rows from all over an input, as the basis for guesses."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, cast

from mmstream.errors import MmstreamError
from mmstream.interfaces import PassedOver, Row, Source, Suggestion
from mmstream.plugins import components, registry
from mmstream.records.record import Record

_ROWS, _SPLITS, _STEP = 5_000, 200, 8
_BYTES = 256 * 1024 * 1024
"""The limits of a sample: its rows, the splits that they come from, the step from row to row; its bytes."""
_DELIMITERS = (";", "\t", "|")
_ROWS_TO_TELL = 5
"""In fewer rows than this, a name may be among the values of its column by chance."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Rows of an input.

    Attributes:
        records: the rows that can be read, with their origins.
        count: how many rows the input has.
        columns: the values of each column, without None.
        unread: how many of the rows looked at cannot be read.
        error: the error of the first of these; None if all can be read.
        origin: the origin of the first of these.
        parameters: the parameters of the source that reads the rows.
        why: the reason for the parameters that the source suggests; "" if it suggests none.
        passed_over: what was passed over in the input.
        files: the columns of each file, or split, that holds rows of several columns.
    """

    records: list[Record]
    count: int
    columns: dict[str, list[Any]]
    unread: int
    error: Exception | None
    origin: str
    parameters: Mapping[str, Any]
    why: str
    files: Mapping[str, set[str]]
    passed_over: Sequence[PassedOver] = ()

    @functools.cached_property
    def rows(self) -> list[Mapping[str, Any]]:
        """The columns of the rows that can be read."""
        return [record.columns for record in self.records]

    def placed(self, name: str) -> list[tuple[Any, str]]:
        """The values of a column, each with the folder of its table below the input; "" for the input's own."""
        origins = ((record.columns.get(name), record.origin) for record in self.records)
        return [(value, origin.rpartition("/")[0]) for value, origin in origins if value is not None]

    @property
    def problem(self) -> str:
        """The origin and the error of the first row that cannot be read; "" if all can be read."""
        return f"{self.origin}: {self.error}" if self.unread else ""


def take_sample(use: str, path: str) -> Sample:
    """Take rows from all over an input.

    The source suggests the parameters to read them with; if the first line of a table is a row, columns get names.

    Args:
        use: the source component.
        path: the path of the input.

    Raises:
        MmstreamError: no row can be read.
    """
    cls = cast("type[Source]", registry.find("source", use))
    suggestion = cls.suggest(path) or Suggestion(1.0, {}, "")
    sample = _sample(use, path, suggestion.parameters, suggestion.why)
    if {"names", "delimiter"} <= components.configurable(cls).keys() and _begins_with_a_row(sample):
        names = {**sample.parameters, "names": [f"column_{number}" for number in range(1, len(sample.rows[0]) + 1)]}
        tries = [names, *({**names, "delimiter": delimiter} for delimiter in _DELIMITERS)]
        sample = min((_sample(use, path, parameters, sample.why) for parameters in tries), key=lambda one: one.unread)
    if not sample.columns:
        why = f"; the first: {sample.problem}" if sample.unread else ""
        raise MmstreamError(f"{path} has no row that can be read{why}")
    return sample


def _begins_with_a_row(sample: Sample) -> bool:
    """Whether the first line, taken for the names of columns, is really a row."""
    if len(sample.rows) < _ROWS_TO_TELL or "names" in sample.parameters:
        return False
    count = sum(name in values for name, values in sample.columns.items())
    return len(sample.columns) > 1 and 3 * count >= len(sample.columns)


def _sample(use: str, path: str, parameters: Mapping[str, Any], why: str) -> Sample:
    source = cast(Source, components.build("source", use, parameters))
    splits = source.splits(path)
    chosen = splits[:: -(-len(splits) // _SPLITS) or 1]
    each = -(-_ROWS // max(len(chosen), 1))
    records: list[Record] = []
    unread: list[Row] = []
    in_files: dict[str, set[str]] = {}
    size = 0
    for split in chosen:
        step = min(max(split.rows // each, 1), _STEP)
        for row in islice(source.read(split), 0, each * step, step):
            if row.columns is None:
                unread.append(row._replace(raw=None))
                continue
            records.append(Record("", row.origin, row.columns))
            if not source.files_are_records:
                in_files.setdefault(split.origin, set()).update(row.columns)
            size += sum(len(value) for value in row.columns.values() if isinstance(value, bytes | str))
            if size > _BYTES * (len(records) + 1) / _ROWS:
                break  # large rows: the other splits need room, too
    columns: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.columns.items():
            if value is not None:
                columns.setdefault(name, []).append(value)
    first = unread[0] if unread else Row("", None)
    count = sum(split.rows for split in splits)
    return Sample(
        records=records,
        count=count,
        columns=columns,
        unread=len(unread),
        error=first.error,
        origin=first.origin,
        parameters=parameters,
        why=why,
        files=in_files,
        passed_over=source.passed_over,
    )
