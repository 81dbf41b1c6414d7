"""Which files of an input `mmstream init` treats as its records: tables, or the pictures beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from mmstream.inputs.sources import source_for, taken_for
from mmstream.interfaces import Source
from mmstream.plugins import registry
from mmstream.records.media import Media
from mmstream.starting_config.columns import look_at
from mmstream.starting_config.pictures import Pictures
from mmstream.starting_config.sampling import take_sample
from mmstream.starting_config.unread import Unread
from mmstream.storage import patterns


class Choice(NamedTuple):
    """The source of an input.

    Attributes:
        use: the component.
        note: a message about which files were taken for the records; "" if there is no doubt.
    """

    use: str
    note: str


def source_of(path: str) -> Choice:
    """Choose the source for an input as jobs do, except for pictures beside a table that does not name them.

    Raises:
        MmstreamError: no source reads it, or several might.
    """
    use = source_for(path)
    note = taken_for(path, use)
    if not note or _source(use).files_are_records:
        return Choice(use, note)
    sample = take_sample(use, path)
    pictures = Pictures(patterns.input_folder(path))
    if len(pictures.paths) <= sample.count or any(
        _name_pictures(name, values, pictures, Media(patterns.input_folder(path), anywhere=True))
        for name, values in sample.columns.items()
    ):
        return Choice(use, note)
    others = (name for name in registry.names("source") if _source(name).files_are_records)
    instead = next(name for name in others if pictures.paths[0].lower().endswith(_source(name).suffixes))
    why = (
        f"the {sample.count:,} rows are fewer than the files and name none of them. To read the rows, give "
        f"--source {use}"
    )
    return Choice(instead, f"{taken_for(path, instead)}: {why}")


def _source(name: str) -> type[Source]:
    return cast("type[Source]", registry.find("source", name))


def _name_pictures(name: str, values: Sequence[Any], pictures: Pictures, media: Media) -> bool:
    """Whether a column is about pictures: it holds them, their names, or paths at which they once were."""
    column = look_at(name, values, media)
    count = sum(bool(pictures.named(str(value).strip())) for value in values)
    unread = Unread(pictures)
    return (
        (column is not None and column.component.media)
        or 2 * count > len(values)
        or bool(unread.why_no_id(values) or unread.why_no_path(values))
    )
