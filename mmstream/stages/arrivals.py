"""What arrives in an input while somebody watches it: files that have come or changed, once they are complete."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Set
from typing import NamedTuple

from mmstream import files
from mmstream.errors import MmstreamError, describe
from mmstream.interfaces import Row, Source
from mmstream.records import digest_of


class Found(NamedTuple):
    """A file, as it was when somebody looked.

    Attributes:
        path: where it lies.
        size: bytes.
        time: when it was last written to.
    """

    path: str
    size: int
    time: float


class Look(NamedTuple):
    """What one look at an input has found.

    Attributes:
        rows: that are new or have changed, or name a file that has.
        again: whether a table was among them that had been read before, so that what came of it may be out of date.
        incomplete: how many files are still being written.
    """

    rows: list[Row]
    again: bool
    incomplete: int


class Arrivals:
    """Looks at an input again and again, and gives each row when it is new, and when it has changed.

    A file is complete when its size and time have not changed since the look before. Of a table that has changed, only
    rows that differ from the one that stood in the same place are given. Where the input is a folder in which tables
    name media, a row is also given when a file that it names comes or changes.

    Args:
        source: that reads the input.
        path: a file, a folder, or a pattern.

    Attributes:
        unreadable: files that the source cannot read, and why; each is tried again when it changes.
    """

    def __init__(self, source: Source, path: str) -> None:
        self._source = source
        self._path = path
        self._base = files.base(path)
        self._seen: dict[str, Found] = {}
        self._done: dict[str, Found] = {}
        self._digests: dict[str, array[int]] = {}
        """Of the rows of each table, in their order."""
        self._just_read: set[str] = set()
        self._unchanged: set[str] = set()
        """Origins, in tables that the last look has read, of rows that it does not give."""
        self.unreadable: dict[str, str] = {}

    def look(self) -> Look:
        """Look once.

        Raises:
            OSError: the input cannot be listed.
        """
        now = dict(self._files())
        ready = {origin for origin, found in now.items() if self._seen.get(origin) == found != self._done.get(origin)}
        incomplete = sum(self._seen.get(origin) != found for origin, found in now.items())
        self._seen = now
        self.unreadable = {origin: why for origin, why in self.unreadable.items() if origin in now}
        self._just_read, self._unchanged = set(), set()
        if self._source.files_are_records:
            return Look(list(self._records_in(ready)), again=False, incomplete=incomplete)
        tables = {origin for origin in ready if self._is_table(now[origin].path)}
        media = ready - tables
        again = any(origin in self._done for origin in tables)
        others = {origin for origin in self._digests if origin in now and origin not in tables} if media else set()
        rows = [row for origin in sorted(tables | others) for row in self._rows_in(origin, media)]
        self._done |= {origin: now[origin] for origin in media}
        return Look(rows, again, incomplete)

    def still_there(self, origin: str) -> bool:
        """Whether the input has a row at a place that the last look has not given."""
        file = self._file_of(origin)
        if file in self._just_read:
            return origin in self._unchanged
        return file is not None

    def forget(self) -> None:
        """Give everything once more."""
        self._done.clear()
        self._digests.clear()

    def _files(self) -> Iterator[tuple[str, Found]]:
        """The files of the input, by what the origins of their rows begin with: the path below it."""
        if files.is_pattern(self._path):
            below = self._base.rstrip("/") + "/"
            paths = [path.removeprefix(below) for path in files.match(self._path)]
        elif files.is_folder(self._path):
            paths = list(files.list_files(self._path))
        else:
            paths = [files.name(self._path)]
        for path in paths:
            place = files.join(self._base, path)
            try:
                found = Found(place, *files.metadata(place))
            except FileNotFoundError:  # it is not there yet, or no more
                continue
            yield path.encode("utf-8", "backslashreplace").decode(), found

    def _is_table(self, path: str) -> bool:
        return path == self._path or files.is_pattern(self._path) or files.has_suffix(path, self._source.suffixes)

    def _records_in(self, ready: Set[str]) -> Iterator[Row]:
        """The rows of a source whose files are records."""
        if not any(files.has_suffix(origin, self._source.suffixes) for origin in ready):
            return
        for split in self._source.splits(self._path):
            for row in self._source.read(split):
                if row.origin in ready:
                    self._just_read.add(row.origin)
                    self._done[row.origin] = self._seen[row.origin]
                    yield row

    def _rows_in(self, origin: str, media: Set[str]) -> Iterator[Row]:
        """The rows of a table that differ from those that stood there, or that name one of these files."""
        before, digests = self._digests.get(origin, array("Q")), array("Q")
        try:
            for split in self._source.splits(self._seen[origin].path):
                for row in self._source.read(split._replace(origin=origin)):
                    place = len(digests)
                    digests.append(_digest(row))
                    if before[place : place + 1] == digests[place:] and not self._names(row, media):
                        self._unchanged.add(row.origin)
                    else:
                        yield row
        except (MmstreamError, OSError) as error:
            self.unreadable[origin] = describe(error)
        else:
            self.unreadable.pop(origin, None)
        self._just_read.add(origin)
        self._done[origin] = self._seen[origin]
        self._digests[origin] = digests

    def _names(self, row: Row, media: Set[str]) -> bool:
        """Whether a column is the path of one of these files."""
        if not media or row.columns is None:
            return False
        texts = (value for value in row.columns.values() if isinstance(value, str))
        return any(os.path.relpath(files.join(self._base, text), self._base) in media for text in texts)

    def _file_of(self, origin: str) -> str | None:
        """The file that a row stands in, of those that are there: an origin begins with it."""
        if origin in self._seen:
            return origin
        ends = [place for place, letter in enumerate(origin) if letter in ":/"]
        return next((origin[:end] for end in reversed(ends) if origin[:end] in self._seen), None)


def _digest(row: Row) -> int:
    """64 bits that tell whether a row is the one that stood in its place."""
    return int(digest_of(row.columns if row.error is None else [row.raw, str(row.error)])[:16], 16)
