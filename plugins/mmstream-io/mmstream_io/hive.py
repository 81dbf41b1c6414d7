"""Columns in the names of folders, such as `year=2020/`."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from mmstream.interfaces import Row

_HIVE_NOTHING = "__HIVE_DEFAULT_PARTITION__"


def folder_columns(origin: str) -> dict[str, str | None]:
    """The columns in the names of a file's folders, as Hive writes them: "year=2020/part-0.csv" → {"year": "2020"}."""
    pairs = (folder.partition("=") for folder in origin.split("/")[:-1])
    return {
        unquote(name): None if value == _HIVE_NOTHING else unquote(value)
        for name, sign, value in pairs
        if name and sign
    }


def with_folder_columns(rows: Iterator[Row], origin: str) -> Iterator[Row]:
    """Add the columns in the names of a file's folders to its rows, unless the rows have such columns.

    Args:
        rows: of the file.
        origin: its path below the input.
    """
    columns = folder_columns(origin) if "=" in origin else {}
    if not columns:
        return rows
    return (row if row.columns is None else row._replace(columns={**columns, **row.columns}) for row in rows)
