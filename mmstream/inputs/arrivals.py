"""Watching an input: finds files that are new or have changed, once they are complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence, Set
from itertools import islice
from typing import NamedTuple

from mmstream.errors import MmstreamError, describe
from mmstream.inputs.items import glimpse
from mmstream.inputs.listing import Listing, Passed, why_not_read
from mmstream.interfaces import PassedOver, Row, Source, Split
from mmstream.records.record import DeadLetter, Record, digest_of
from mmstream.records.references import path_in
from mmstream.runtime import alive
from mmstream.storage import files, patterns

Item = Record | DeadLetter
CANNOT_READ = (MmstreamError, OSError, ValueError)
"""Errors that a source may raise if a file changes while it is read; pyarrow's errors are ValueErrors."""


class Found(NamedTuple):
    """A file, as one look found it.

    Attributes:
        path: its path.
        size: in bytes; -1 if access is not allowed, or if it is a link that leads nowhere.
        time: when it was last written to.
    """

    path: str
    size: int
    time: float

    @property
    def modified(self) -> float:
        """The time of the last write, in seconds since 1970."""
        return files.in_seconds(self.path, self.time)


class Stood(NamedTuple):
    """A row of a table, as it was when it was last read.

    Attributes:
        id: the id of its record; "" if it is not a record.
        digest: tells whether it has changed.
    """

    id: str
    digest: int


class Look(NamedTuple):
    """The findings of one look at an input.

    Attributes:
        items: records and dead letters that are new or changed, or that name a file that is.
        again: whether a table that had been read before was read again, so that its earlier results may be out of date.
        vacated: whether an id has disappeared from its place in a table.
        incomplete: how many files are still being written.
    """

    items: list[Item]
    again: bool
    vacated: bool
    incomplete: int


def listing(path: str, roots: Sequence[str] = (), passed: Passed | None = None) -> Iterator[tuple[str, Found]]:
    """List an input's files: for each, its path below the input (the start of its rows' origins) and its state.

    Args:
        path: a file, a folder, or a pattern.
        roots: folders that links in a folder may lead to.
        passed: counts what is passed over.

    Raises:
        OSError: it cannot be listed.
    """
    base = patterns.input_folder(path)
    if patterns.is_pattern(path):
        below = base.rstrip("/") + "/"
        paths = [match.removeprefix(below) for match in patterns.matches(path)]
    elif files.is_folder(path):
        paths = list(Listing(path, roots, passed))
    else:
        paths = [files.name(path)] if files.exists(path) else []
    for each in paths:
        alive.progress()
        place = files.join(base, each)
        try:
            found = Found(place, *files.metadata(place))
        except OSError:  # it is a record, or has just been removed; whoever reads it reports what is wrong
            found = Found(place, -1, 0)
        yield each.encode("utf-8", "backslashreplace").decode(), found


def is_read(path: str, input_path: str, source: Source) -> bool:
    """Return whether an input's source reads a file; other files are media that rows name."""
    return path == input_path or patterns.is_pattern(input_path) or source.reads(path)


def splits_of(source: Source, path: str, origin: str) -> list[Split]:
    """Return the source splits of one file of an input; the origins of its rows begin with `origin`.

    Raises:
        MmstreamError: it cannot be read.
    """
    if source.files_are_records:
        return [Split(path, 1, origin)]
    with alive.step(f"looking through {path}"):
        return [split._replace(origin=origin) for split in source.splits(path)]


class Arrivals:
    """Looks at an input repeatedly, and gives each row when it is new and whenever it has changed.

    A file is complete when its size and time have not changed since the previous look. From a changed table, only those
    rows are given that differ from the previous row at the same place. If the input is a folder in which tables name
    media, a row is also given when a file that it names appears or changes.

    Args:
        source: the source that reads the input.
        path: a file, a folder, or a pattern.

    Attributes:
        unreadable: files that the source cannot read completely, and why; each is tried again at the next look.
        passed_over: what the last look passed over: hidden names, links to folders, and files that are not records.
    """

    def __init__(self, source: Source, path: str) -> None:
        self._source = source
        self._path = path
        self._base = patterns.input_folder(path)
        self._seen: dict[str, Found] = {}
        self._done: dict[str, Found] = {}
        self._tables: dict[str, dict[str, Stood]] = {}
        """The rows of each table, by origin."""
        self._news: dict[str, set[str]] = {}
        """Media that have arrived since each table was read."""
        self._given: set[str] = set()
        """Origins that the last look gave."""
        self.unreadable: dict[str, str] = {}
        self.passed_over: Sequence[PassedOver] = ()

    def sample(self, count: int) -> list[Row]:
        """Look once, and return the first rows of the complete files, as a preview: the next look gives them, too.

        Raises:
            OSError: the input cannot be listed.
        """
        rows = islice(self.rows(), count)
        return [row if row.columns is None else row._replace(columns=glimpse(row.columns)) for row in rows]

    def count(self) -> int:
        """Look once, and count the rows of the complete files.

        Raises:
            OSError: the input cannot be listed.
        """
        return sum(1 for _ in self.rows())

    def rows(self) -> Iterator[Row]:
        """Look once, and give all rows of the complete files, as a preview: the next look gives them, too.

        Raises:
            OSError: the input cannot be listed.
        """
        return self._rows(self._look())

    def look(self, item_of: Callable[[Row], Item]) -> Look:
        """Look once.

        Args:
            item_of: turns a row into an item, with its media stored separately.

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
        """Return whether a place that the last look omitted still has a record with this id ("" for no record).

        If a table has never been read completely, its content is unknown, and its earlier results are kept.
        """
        if origin in self._given:
            return False
        file = self._file_of(origin)
        if file is None or self._source.files_are_records or file in self.unreadable or file not in self._tables:
            return file is not None
        stood = self._tables[file].get(origin)
        return stood is not None and stood.id == key

    def forget(self) -> None:
        """Make the next look give everything again."""
        self._done.clear()
        self._tables.clear()
        self._news.clear()

    def _look(self) -> set[str]:
        """Return the origins of files that are complete and have not been read."""
        with alive.step(f"looking through {self._path}"):
            passed = Passed()
            now = dict(listing(self._path, self._source.roots, passed))
        if self._source.files_are_records:
            for origin, found in now.items():
                if not self._is_table(found.path):
                    passed.add(why_not_read(self._path, origin), origin)
        self.passed_over = passed.told()
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
        """Yield the rows of files as far as they can be read; the next look retries files that cannot be read."""
        for origin in sorted(ready):
            if self._is_table(self._seen[origin].path):
                try:
                    yield from self._rows_of(origin)
                except CANNOT_READ as error:
                    self.unreadable[origin] = describe(error)

    def _rows_of(self, origin: str) -> Iterator[Row]:
        """Yield the rows of a file."""
        for split in splits_of(self._source, self._seen[origin].path, origin):
            yield from alive.watched(f"reading {origin}", self._source.read(split))

    def _items_in(self, origin: str, item_of: Callable[[Row], Item]) -> Iterator[Item]:
        """Yield the rows of a table that have changed, or that name media that have changed."""
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
        """Return whether a column holds the path of one of these files."""
        if not media or row.columns is None:
            return False
        texts = (value for value in row.columns.values() if isinstance(value, str))
        return any(os.path.relpath(files.join(self._base, path_in(text)), self._base) in media for text in texts)

    def _file_of(self, origin: str) -> str | None:
        """Find the existing file that a row is in: the row's origin begins with it."""
        if origin in self._seen:
            return origin
        ends = [place for place, letter in enumerate(origin) if letter in ":/"]
        return next((origin[:end] for end in reversed(ends) if origin[:end] in self._seen), None)


def _digest(row: Row) -> int:
    """Return a 64-bit digest that tells whether a row still equals the one that was at its place."""
    return int(digest_of(row.columns if row.error is None else [row.raw, str(row.error)])[:16], 16)
