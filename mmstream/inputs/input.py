"""The input of a job, its pieces, and their rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, count, islice
from typing import Any, NamedTuple

from mmstream.errors import MmstreamError, describe
from mmstream.interfaces import PassedOver, Row, Source, Split
from mmstream.plugins import components
from mmstream.records.media import Media
from mmstream.runtime import alive
from mmstream.storage import files, patterns

_LOOKED_THROUGH = 100_000
"""About how many rows are read to take a few from the whole input; more are read only if more are asked for."""


@dataclasses.dataclass(frozen=True)
class Input:
    """The input of a job, in a form that can be sent to workers.

    Attributes:
        use: name of the source component.
        parameters: parameters of its constructor.
        path: a file, a folder, or a pattern.
        id: column of the id; None if the origin is the id.
        rename: new column name -> its name in the input.
        limit: how many rows to read, evenly spaced; None for all.
        roots: further folders in which its media may lie.
        number: its number among the inputs of the output, counted from 0 in the order in which they were first read.
    """

    use: str
    parameters: Mapping[str, Any]
    path: str
    id: str | None = None
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limit: int | None = None
    roots: Sequence[str] = ()
    number: int = 0

    def media(self) -> Media:
        """Make a reader of the media that its rows name; for a stream, relative paths start at the first root."""
        if self.source().scheme:
            first, *others = [*self.roots, self.path]
            return Media(first, others)
        return Media(patterns.input_folder(self.path), self.roots, has_tables=True)

    def source(self) -> Source:
        """Build the source component."""
        source: Source = components.build("source", self.use, self.parameters)
        source.roots = tuple(self.roots)
        return source


def input_named(inputs: Sequence[Mapping[str, Any]], path: str = "") -> Input:
    """Find an input among those that job.json lists; it may have moved since.

    Args:
        inputs: the inputs in job.json, the latest last.
        path: its current path; "" for the latest input, if it has not moved. An unknown path is read in the same way as
            the latest input.
    """
    path = files.absolute(path) if path else ""
    about = next((each for each in inputs if each["path"] == path), inputs[-1])
    return Input(**{**about, "path": path or about["path"]})


class Piece(NamedTuple):
    """One piece of an input, and how many of its rows to read.

    Attributes:
        number: its number within the input.
        split: the source split that it is.
        rows: how many of its rows to take.
        among: the number of rows at its beginning from which these are taken, evenly spaced.
    """

    number: int
    split: Split
    rows: int
    among: int

    def wants(self, row: int) -> bool:
        """Return whether to take a row, counted from 0."""
        return row * self.rows // self.among < (row + 1) * self.rows // self.among


def pieces_of(job_input: Input) -> list[Piece]:
    """Return the pieces of an input to read; see `look_through`."""
    return look_through(job_input)[0]


def look_through(job_input: Input) -> tuple[list[Piece], Sequence[PassedOver]]:
    """Return the pieces of an input to read, and what was passed over.

    With a limit, the rows are evenly spaced over the input, and are the same at each call. A source also has to read
    the rows in between, so only the first rows of each piece are used if there are many pieces.

    Raises:
        MmstreamError: it cannot be read, or has no rows.
    """
    source = job_input.source()
    try:
        with alive.step(f"looking through {job_input.path}"):
            splits = source.splits(job_input.path)
    except OSError as error:
        raise MmstreamError(f"cannot read {job_input.path}: {describe(error)}") from error
    total = sum(split.rows for split in splits)
    limit = total if job_input.limit is None else min(job_input.limit, total)
    pieces, before = [], 0
    for number, split in enumerate(splits):
        rows = (before + split.rows) * limit // total - before * limit // total if total else 0
        if rows:
            among = max(rows, min(split.rows, _LOOKED_THROUGH // min(limit, len(splits))))
            pieces.append(Piece(number, split, rows, among))
        before += split.rows
    if not pieces:
        raise MmstreamError(f"{job_input.path} has no records")
    return pieces, source.passed_over


def rows_of(job_input: Input, pieces: Iterable[Piece]) -> Iterator[Row]:
    """Yield the wanted rows of some pieces."""
    for piece in pieces:
        rows = islice(job_input.source().read(piece.split), piece.among)
        watched = alive.watched(f"reading {piece.split.origin or piece.split.path}", rows)
        yield from watched if piece.rows == piece.among else compress(watched, map(piece.wants, count()))
