"""What arrives in an input while somebody watches it: files that have come or changed, once they are complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Set
from itertools import islice
from typing import NamedTuple

from mmstream import alive, files
from mmstream.errors import MmstreamError, describe
from mmstream.interfaces import Row, Source, Split
from mmstream.records import DeadLetter, Record, digest_of
from mmstream.stages.reading import glimpse

Item = Record | DeadLetter
CANNOT_READ = (MmstreamError, OSError, ValueError)
"""What a source may raise where a file is not what it was a moment ago; pyarrow's errors are ValueErrors."""


class Found(NamedTuple):
    """A file, as it was when somebody looked.

    Attributes:
        path: where it lies.
        size: bytes; -1 where nobody may look, or it is a link that leads nowhere.
        time: when it was last written to.
    """

    path: str
    size: int
    time: float

    @property
    def modified(self) -> float:
        """When it was last written to, in seconds since 1970."""
        return files.in_seconds(self.path, self.time)


class Stood(NamedTuple):
    """A row of a table, as it was when it was last read.

    Attributes:
        id: of its record; "" where it is none.
        digest: tells whether it has changed.
    """

    id: str
    digest: int


class Look(NamedTuple):
    """What one look at an input has found.

    Attributes:
        items: records and dead letters that are new or have changed, or name a file that has.
        again: whether a table was among them that had been read before, so that what came of it may be out of date.
        vacated: whether an id no longer stands in a place of a table where it stood.
        incomplete: how many files are still being written.
    """

    items: list[Item]
    again: bool
    vacated: bool
    incomplete: int


def listing(path: str) -> Iterator[tuple[str, Found]]:
    """The files of an input that are there, by what the origins of their rows begin with: the path below it.

    Raises:
        OSError: it cannot be listed.
    """
    base = files.base(path)
    if files.is_pattern(path):
        below = base.rstrip("/") + "/"
        paths = [match.removeprefix(below) for match in files.match(path)]
    elif files.is_folder(path):
        paths = list(files.list_files(path))
    else:
        paths = [files.name(path)] if files.exists(path) else []
    for each in paths:
        alive.progress()
        place = files.join(base, each)
        try:
            found = Found(place, *files.metadata(place))
        except OSError:  # it is a record, or has just been removed; who reads it says what is wrong
            found = Found(place, -1, 0)
        yield each.encode("utf-8", "backslashreplace").decode(), found


def is_read(path: str, input_path: str, source: Source) -> bool:
    """Whether a file of an input is one that its source reads; others are media that rows name."""
    return path == input_path or files.is_pattern(input_path) or files.has_suffix(path, source.suffixes)


def splits_of(source: Source, path: str, origin: str) -> list[Split]:
    """The pieces of one file of an input, whose rows' origins begin so.

    Raises:
        MmstreamError: it cannot be read.
    """
    if source.files_are_records:
        return [Split(path, 1, origin)]
    with alive.step(f"looking through {path}"):
        return [split._replace(origin=origin) for split in source.splits(path)]


class Arrivals:
    """Looks at an input again and again, and gives each row when it is new, and when it has changed.

    A file is complete when its size and time have not changed since the look before. Of a table that has changed, only
    rows that differ from the one that stood in the same place are given. Where the input is a folder in which tables
    name media, a row is also given when a file that it names comes or changes.

    Args:
        source: that reads the input.
        path: a file, a folder, or a pattern.

    Attributes:
        unreadable: files that the source cannot read to their end, and why; each is tried again at the next look.
    """

    def __init__(self, source: Source, path: str) -> None:
        self._source = source
        self._path = path
        self._base = files.base(path)
        self._seen: dict[str, Found] = {}
        self._done: dict[str, Found] = {}
        self._tables: dict[str, dict[str, Stood]] = {}
        """The rows of each table by their origins."""
        self._news: dict[str, set[str]] = {}
        """Media that have come since each table was read."""
        self._given: set[str] = set()
        """Origins that the last look gave."""
        self.unreadable: dict[str, str] = {}

    def sample(self, count: int) -> list[Row]:
        """Look once; the first rows of what is complete. The next look gives them for good.

        Raises:
            OSError: the input cannot be listed.
        """
        rows = islice(self._rows(self._look()), count)
        return [row if row.columns is None else row._replace(columns=glimpse(row.columns)) for row in rows]

    def count(self) -> int:
        """Look once; how many rows there are in what is complete.

        Raises:
            OSError: the input cannot be listed.
        """
        return sum(1 for _ in self._rows(self._look()))

    def look(self, item_of: Callable[[Row], Item]) -> Look:
        """Look once.

        Args:
            item_of: what becomes of a row, with its media elsewhere.

        Raises:
            OSError: the input cannot be listed.
        """
        before = self._tables
        ready = self._look()
        gone = [rows for origin, rows in before.items() if origin not in self._seen]
        incomplete = sum(
            origin not in ready and found != self._done.get(origin) for origin, found in self._seen.items()
        )
        self._given = set()
        if self._source.files_are_records:
            found = {row.origin: item_of(row) for row in self._rows(ready)}
            self._given = set(found)
            self._done |= {origin: self._seen[origin] for origin in found}
            return Look(list(found.values()), again=False, vacated=False, incomplete=incomplete)
        tables = {origin for origin in ready if self._is_table(self._seen[origin].path)}
        media = ready - tables
        self._done |= {origin: self._seen[origin] for origin in media}
        for news in self._news.values():
            news |= media
        known = {origin for origin, news in self._news.items() if news and self._seen[origin] == self._done[origin]}
        items: list[Item] = []
        again, vacated = False, any(gone)
        for origin in sorted(tables | known):
            stood = self._tables.get(origin, {})
            items += self._items_in(origin, item_of)
            stands = self._tables[origin]
            again = again or bool(stood and origin in tables and origin not in self.unreadable)
            vacated = vacated or any(place not in stands or stands[place].id != row.id for place, row in stood.items())
        return Look(items, again, vacated, incomplete)

    def still_there(self, origin: str, key: str) -> bool:
        """Whether a record with this id ("" for a row that is none) stands at a place that the last look has not given.

        Of a table that has never been read whole nobody knows; what came of it before stays.
        """
        if origin in self._given:
            return False
        file = self._file_of(origin)
        if file is None or self._source.files_are_records or file in self.unreadable or file not in self._tables:
            return file is not None
        stood = self._tables[file].get(origin)
        return stood is not None and stood.id == key

    def forget(self) -> None:
        """Give everything once more."""
        self._done.clear()
        self._tables.clear()
        self._news.clear()

    def _look(self) -> set[str]:
        """The origins of files that are complete and have not been read."""
        with alive.step(f"looking through {self._path}"):
            now = dict(listing(self._path))
        ready = {origin for origin, found in now.items() if self._seen.get(origin) == found != self._done.get(origin)}
        self._seen = now
        self._done = {origin: found for origin, found in self._done.items() if origin in now}
        self._tables = {origin: rows for origin, rows in self._tables.items() if origin in now}
        self._news = {origin: news for origin, news in self._news.items() if origin in now}
        self.unreadable = {origin: why for origin, why in self.unreadable.items() if origin in now}
        return ready

    def _is_table(self, path: str) -> bool:
        return is_read(path, self._path, self._source)

    def _rows(self, ready: Set[str]) -> Iterator[Row]:
        """The rows of files, as far as they can be read; the next look tries again those that cannot."""
        for origin in sorted(ready):
            if self._is_table(self._seen[origin].path):
                try:
                    yield from self._rows_of(origin)
                except CANNOT_READ as error:
                    self.unreadable[origin] = describe(error)

    def _rows_of(self, origin: str) -> Iterator[Row]:
        """The rows of a file."""
        for split in splits_of(self._source, self._seen[origin].path, origin):
            yield from alive.watched(f"reading {origin}", self._source.read(split))

    def _items_in(self, origin: str, item_of: Callable[[Row], Item]) -> Iterator[Item]:
        """What has changed in a table, and what names media that have."""
        stood, news = self._tables.get(origin, {}), self._news.get(origin, set())
        stands: dict[str, Stood] = {}
        try:
            for row in self._rows_of(origin):
                digest, before = _digest(row), stood.get(row.origin)
                if before is not None and before.digest == digest and not self._names(row, news):
                    stands[row.origin] = before
                    continue
                item = item_of(row)
                stands[row.origin] = Stood(item.id, digest)
                self._given.add(row.origin)
                yield item
        except CANNOT_READ as error:
            self.unreadable[origin] = describe(error)
            self._tables[origin] = stood | stands
            return
        self.unreadable.pop(origin, None)
        self._tables[origin], self._news[origin], self._done[origin] = stands, set(), self._seen[origin]

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
