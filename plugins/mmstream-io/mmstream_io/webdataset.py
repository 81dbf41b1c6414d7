"""WebDataset: tar archives in which members that share a stem are one record."""

from __future__ import annotations

import contextlib
import dataclasses
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from mmstream.alive import progress
from mmstream.errors import MmstreamError
from mmstream.interfaces import Row, Source, Split
from mmstream_io import inputs
from mmstream_io.tar import Member, members_of

SPLIT_BYTES = 64 * 1024 * 1024
KEY = "__key__"
"""The column of the stem, as WebDataset itself calls it."""
_COLUMNS = {
    **dict.fromkeys(inputs.PICTURES, "image"),
    **dict.fromkeys(("flac", "m4a", "mp3", "ogg", "opus", "wav"), "audio"),
    **dict.fromkeys(("avi", "mkv", "mov", "mp4", "webm"), "video"),
    "txt": "text",
    "cls": "category",
}
"""The column that the only member of a kind stands in, by suffix."""
_MEDIA = frozenset(suffix for suffix in _COLUMNS if suffix not in ("txt", "cls"))
_TEXTS = ("txt", "cls", "json")
_SHOWN = 20
"""So many members of a record that cannot be read are listed in its dead letter."""
_NAME = 80


@dataclasses.dataclass
class _Record:
    """Members that share a stem.

    Attributes:
        stem: "" for a piece of the archive that is no record.
        start: byte at which the first one begins.
        end: one past where the last one ends.
        sizes: bytes of the members, by suffix.
        members: contents by suffix; empty where they are not wanted.
        error: why the record cannot be read.
        total: bytes of the members and their names.
    """

    stem: str
    start: int
    end: int = 0
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    members: dict[str, bytes] = dataclasses.field(default_factory=dict)
    error: Exception | None = None
    total: int = 0

    def fail(self, problem: str) -> None:
        """The record cannot be read; the first reason stays, and nothing is kept of its members."""
        self.error = self.error or ValueError(problem)
        self.members = {}


class Webdataset(Source):
    """Reads tar archives, gzipped or not, in which "0001.jpg" and "0001.json" are one record, called by its stem 0001.

    The stem is a member's path up to the first dot of its name, and stands in the column `__key__`. A member is a
    column: the only picture is `image`, the only sound `audio`, the only video `video`, .txt is `text` and .cls
    `category`; several of a kind, and any other member, are called by their suffix. The keys of a .json object are
    columns themselves. Members of a record follow each other. Hidden ones, and those of hidden folders, are passed
    over.

    A record of which a member is cut off, doubled, without a suffix, no plain file or has headers of more than 1 MiB
    becomes a row with an error; so does one of more than 64 MiB or 16,384 members or columns in all. So does the
    place at which an archive is damaged, cut off or goes on behind its end mark, for nothing says what followed.

    Source: https://github.com/webdataset/webdataset
    """

    suffixes = (".tar", ".tar.gz", ".tgz")

    def splits(self, path: str) -> list[Split]:
        """Pieces of about 64 MiB, cut between records; a gzipped archive is one.

        Raises:
            MmstreamError: a file cannot be read.
        """
        return [split for file in inputs.find(path, self.suffixes, "webdataset") for split in _cut(file)]

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is "<file>/<stem>"."""
        with inputs.open_file(split.path) as file:
            file.seek(split.start)
            records = _records(file, split.end)
            for number, record in enumerate(records, split.first):
                yield _row(f"{split.origin}/{record.stem or f'record {number}'}", record)


def _cut(file: inputs.InputFile) -> Iterator[Split]:
    start = end = rows = 0
    first = 1
    most = inputs.piece_bytes(file.path, SPLIT_BYTES)
    with inputs.open_file(file.path) as opened:
        for record in _records(opened, None, skim=True):
            if record.error and not record.stem and not record.start:
                raise MmstreamError(f"{file.path} is not a tar archive")
            if rows and record.end - start > most:
                yield Split(file.path, rows, file.origin, first, start, end)
                start, first, rows = record.start, first + rows, 0
            rows, end = rows + 1, record.end
    if rows:
        yield Split(file.path, rows, file.origin, first, start, end)


def _records(file: BinaryIO, end: int | None, *, skim: bool = False) -> Iterator[_Record]:
    """The records of an archive from here on; to skim is to pass over their contents."""
    record: _Record | None = None
    for member in _members(file, end):
        if isinstance(member, _Record):
            if record:
                yield record
            record = member
            continue
        stem, suffix = _divided(member.name)
        if member.is_folder or not stem:
            continue
        if record is None or record.stem != stem:
            if record:
                yield record
            record = _Record(stem, member.start)
        record.end = member.end
        problem = _problem_of(member, suffix, record)
        if problem:
            record.fail(f"the member {member.name[:_NAME]!r} {problem}")
        elif not skim and not record.error:
            file.seek(member.data)
            record.members[suffix] = data = file.read(member.size)
            if len(data) < member.size:
                record.fail(f"the archive ends within the member {member.name[:_NAME]!r}")
        if not record.error or len(record.sizes) < _SHOWN:
            record.sizes[suffix] = member.size
    if record:
        yield record


def _problem_of(member: Member, suffix: str, record: _Record) -> str:
    """Why a member cannot be part of a record, "" if it can; counts it as one that is."""
    record.total += member.size + len(member.name)
    if member.problem:
        return member.problem
    if not member.is_plain:
        return "is not a plain file"
    if member.size > inputs.MAX_ROW_BYTES:
        return f"has {member.size:,} bytes: too many"
    if not suffix:
        return "has no suffix, which would be its column"
    if suffix in record.sizes:
        return "stands twice"
    if record.total > inputs.MAX_ROW_BYTES:
        return f"and those before it have more than {inputs.MAX_ROW_BYTES:,} bytes: too many for one record"
    if len(record.sizes) >= inputs.MAX_COLUMNS:
        return f"is one of more than {inputs.MAX_COLUMNS:,}: too many for one record"
    return ""


def _members(file: BinaryIO, end: int | None) -> Iterator[Member | _Record]:
    """The members of an archive from here on.

    Where the archive is not whole, the last is a record that says what is wrong.
    """
    place = file.tell()
    with contextlib.suppress(tarfile.TarError, ValueError):  # what stands there shows what ended it
        for member in members_of(file):
            if end is not None and member.start >= end:
                return
            place = member.end
            yield member
    if end is not None and place >= end:
        return
    problem = _problem(file, place)
    if problem:
        yield _Record("", place, place + 1, error=ValueError(problem))


def _problem(file: BinaryIO, place: int) -> str | None:
    """What is wrong with an archive whose members end at a place; None where its end mark stands there."""
    file.seek(place)
    block = file.read(tarfile.BLOCKSIZE)
    more = False
    while rest := file.read(1 << 20):  # to the end: there a packed file has the checksum of all that was read
        progress()
        more = more or rest.count(0) < len(rest)
    if len(block) < tarfile.BLOCKSIZE:
        return "the archive ends without an end mark; what may have followed is lost"
    if any(block):
        return "no member begins here; what follows cannot be read"
    return "the archive goes on behind its end mark; what follows is not read" if more else None


def _divided(name: str) -> tuple[str, str]:
    """Stem and suffix of a member, the stem "" for a hidden one."""
    name = name.removeprefix("./")
    folder, slash, file = name.rpartition("/")
    first, _, suffix = file.partition(".")
    hidden = any(part.startswith(".") and part.strip(".") for part in name.split("/"))
    return ("" if hidden else f"{folder}{slash}{first}"), suffix.lower()


def _row(origin: str, record: _Record) -> Row:
    origin, key = (text.encode("utf-8", "backslashreplace").decode() for text in (origin, record.stem))
    shown = list(record.sizes.items())[:_SHOWN]
    found = {suffix[:_NAME]: f"{size:,} bytes" for suffix, size in shown}
    if len(shown) < len(record.sizes):
        found["…"] = f"{len(record.sizes) - len(shown):,} more"
    if record.error:
        return Row(origin, None, {KEY: key, **found}, record.error)
    try:
        return Row(origin, _columns(key, record.members))
    except ValueError as error:
        return Row(origin, None, {KEY: key, **found}, error)


def _columns(key: str, members: Mapping[str, bytes]) -> dict[str, Any]:
    """A record's columns.

    Raises:
        ValueError: a text is not UTF-8, a .json is not JSON, a column stands twice, or there are too many.
    """
    kinds = Counter(_COLUMNS.get(suffix, suffix) for suffix in members)
    columns: dict[str, Any] = {KEY: key}
    for suffix, data in members.items():
        kind = _COLUMNS.get(suffix, suffix)
        name = kind if kinds[kind] == 1 else suffix
        value: Any = data
        if suffix in _TEXTS:
            value = inputs.text_of(data)
            value = value.strip() if suffix == "cls" else value
        elif suffix.rpartition(".")[2] not in _MEDIA:
            value = inputs.text_or_bytes(data)
        found = {name: value}
        if suffix == "json":
            parsed = inputs.parse_json(value)
            found = parsed if isinstance(parsed, dict) else {name: parsed}
        for column in found.keys() & columns.keys():
            raise ValueError(f"the column {column[:_NAME]!r} stands twice")
        columns |= found
        if len(columns) > inputs.MAX_COLUMNS:
            raise ValueError(f"the record has {len(columns):,} columns; at most {inputs.MAX_COLUMNS:,} are read")
    return columns
