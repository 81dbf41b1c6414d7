"""The rows that a source reads, the pieces in which it reads them, and what it passes over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A row as a source reads it, or the error that makes it a dead letter.

    Attributes:
        origin: where it is, relative to the input: "manifest.jsonl:12" or a path.
        columns: the values by column; None if the row could not be read.
        raw: what was found instead of a row; it is kept in the dead letter.
        error: why it could not be read.
    """

    origin: str
    columns: Mapping[str, Any] | None
    raw: Any = None
    error: Exception | None = None


class Split(NamedTuple):
    """A piece of an input that one worker reads; it can be pickled.

    Attributes:
        path: the file or folder.
        rows: how many rows it holds.
        origin: the beginning of its rows' origins: the path below the input.
        first: the number of its first row (or line) in the file, counted from 1.
        start: where it begins, in the source's own unit, such as bytes or row groups.
        end: where it ends, exclusive.
    """

    path: str
    rows: int
    origin: str = ""
    first: int = 1
    start: int = 0
    end: int = 0


class PassedOver(NamedTuple):
    """The files and folders of an input that a source passes over for one reason.

    Attributes:
        reason: the reason, as it follows a number: "hidden".
        total: how many files or folders there are.
        first: the paths of the first few, below the input.
    """

    reason: str
    total: int
    first: tuple[str, ...]
