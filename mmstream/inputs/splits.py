"""Choosing the split that a record belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mmstream.config.schema import SplitConfig
from mmstream.errors import RecordError
from mmstream.records.record import SPLITS, Record, split_named, split_of, split_of_file
from mmstream.records.spool import Spooled

NO_KEYS: Mapping[str, str] = MappingProxyType({})


def split_for(record: Record, split: SplitConfig, near_keys: Mapping[str, str] = NO_KEYS) -> str:
    """Return the split of a record.

    Args:
        record: the record.
        split: how records are divided.
        near_keys: the key that takes the place of a record's own (`key_of`), if near-equal records stay together.

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
    key = key_of(record, split)
    return split_of(near_keys.get(key, key), split.validation, split.test)


def key_of(record: Record, split: SplitConfig) -> str:
    """Return the key whose hash decides on a record's split: its id, or "group " and the value in `group`."""
    group = record.columns.get(split.group) if split.group else None
    group = group.sha256 if isinstance(group, Spooled) else group
    return record.id if group is None else f"group {group}"
