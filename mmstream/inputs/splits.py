"""Choosing the split that a record belongs to."""

from __future__ import annotations

from mmstream.config.schema import SplitConfig
from mmstream.errors import RecordError
from mmstream.records.record import SPLITS, Record, split_named, split_of, split_of_file
from mmstream.records.spool import Spooled


def split_for(record: Record, split: SplitConfig) -> str:
    """Return the split of a record.

    Raises:
        RecordError: the split column, or the path of the file, does not name a split.
    """
    if split.by_file:
        named = split_of_file(record.origin)
        if named is None:
            message = (
                f"no file or folder in the path {record.origin!r:.200} is named after one of "
                f"{', '.join(SPLITS)}, which `split.by_file` needs"
            )
            raise RecordError(message, stage="check", error="BadSplit")
        return named
    if split.column:
        value = record.columns.get(split.column)
        named = split_named(value)
        if named is None:
            message = f"the split column {split.column!r} needs one of {', '.join(SPLITS)}; found {value!r:.80}"
            raise RecordError(message, stage="check", error="BadSplit")
        return named
    group = record.columns.get(split.group) if split.group else None
    group = group.sha256 if isinstance(group, Spooled) else group
    return split_of(record.id if group is None else f"group {group}", split.validation, split.test)
