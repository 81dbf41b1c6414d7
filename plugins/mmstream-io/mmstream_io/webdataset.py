"""WebDataset: tar archives in which members that share a stem are one record."""

from __future__ import annotations

import contextlib
import dataclasses
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from mmstream.errors import MmstreamError
from mmstream.interfaces import Row, Source, Split
from mmstream_io import inputs

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
_LARGEST_ARCHIVE = 1 << 43
"""No file is larger, whatever the header of a damaged one says: it cannot even be sought so far."""


@dataclasses.dataclass
class _Record:
    """Members that share a stem.

    Attributes:
        stem: "" for a piece of the archive that is no record.
        start: byte at which the first one begins.
        end: one past where the last one ends.
        members: contents by suffix; empty where they are not wanted.
        error: why the record cannot be read.
    """

    stem: str
    start: int
    end: int = 0
    members: dict[str, bytes] = dataclasses.field(default_factory=dict)
    error: Exception | None = None


class Webdataset(Source):
    """Reads tar archives, gzipped or not, in which "0001.jpg" and "0001.json" are one record, called by its stem 0001.

    The stem is a member's path up to the first dot of its name, and stands in the column `__key__`. A member is a
    column: the only picture is `image`, the only sound `audio`, the only video `video`, .txt is `text` and .cls
    `category`; several of a kind, and any other member, are called by their suffix. The keys of a .json object are
    columns themselves. Members of a record follow each other. Hidden ones, and those of hidden folders, are passed
    over.

    A record of which a member is cut off, doubled, too large, without a suffix or no plain file becomes a row with an
    error. So does the place at which an archive is damaged, cut off or goes on behind its end mark, for nothing says
    what followed.

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
    for member, after in _members(file, end):
        if isinstance(member, _Record):
            if record:
                yield record
            record = member
            continue
        stem, suffix = _divided(member.name)
        if member.isdir() or not stem:
            continue
        if record is None or record.stem != stem:
            if record:
                yield record
            record = _Record(stem, member.offset)
        record.end = after
        if not member.isreg() or member.issparse():
            record.error = ValueError(f"the member {member.name!r} is not a plain file")
        elif member.size > inputs.MAX_ROW_BYTES:
            record.error = ValueError(f"the member {member.name!r} has {member.size:,} bytes: too many")
        elif not suffix:
            record.error = ValueError(f"the member {member.name!r} has no suffix, which would be its column")
        elif suffix in record.members:
            record.error = ValueError(f"the member {member.name!r} stands twice")
        elif skim:
            record.members[suffix] = b""
        else:
            file.seek(member.offset_data)
            record.members[suffix] = data = file.read(member.size)
            if len(data) < member.size:
                record.error = ValueError(f"the archive ends within the member {member.name!r}")
    if record:
        yield record


def _members(file: BinaryIO, end: int | None) -> Iterator[tuple[tarfile.TarInfo | _Record, int]]:
    """The members of an archive from here on, each with the byte after it.

    Where the archive is not whole, the last is a record that says what is wrong.
    """
    place = file.tell()
    with contextlib.suppress(tarfile.TarError, ValueError, ArithmeticError):  # what stands there shows what ended it
        archive = tarfile.TarFile(fileobj=file, encoding="utf-8")
        while member := archive.next():
            if end is not None and member.offset >= end:
                return
            if not member.offset < archive.offset < _LARGEST_ARCHIVE:
                break
            place = archive.offset
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            yield member, place
    if end is not None and place >= end:
        return
    problem = _problem(file, place)
    if problem:
        yield _Record("", place, place + 1, error=ValueError(problem)), place + 1


def _problem(file: BinaryIO, place: int) -> str | None:
    """What is wrong with an archive whose members end at a place; None where its end mark stands there."""
    file.seek(place)
    block = file.read(tarfile.BLOCKSIZE)
    more = False
    while rest := file.read(1 << 20):  # to the end: there a packed file has the checksum of all that was read
        more = more or any(rest)
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
    found = {suffix: f"{len(data):,} bytes" for suffix, data in record.members.items()}
    if record.error:
        return Row(origin, None, {KEY: key, **found}, record.error)
    try:
        return Row(origin, _columns(key, record.members))
    except ValueError as error:
        return Row(origin, None, {KEY: key, **found}, error)


def _columns(key: str, members: Mapping[str, bytes]) -> dict[str, Any]:
    """A record's columns.

    Raises:
        ValueError: a text is not UTF-8, a .json is not JSON, or a column stands twice.
    """
    kinds = Counter(_COLUMNS.get(suffix, suffix) for suffix in members)
    columns: dict[str, Any] = {KEY: key}
    for suffix, data in members.items():
        kind = _COLUMNS.get(suffix, suffix)
        name = kind if kinds[kind] == 1 else suffix
        value: Any = data
        if suffix in _TEXTS:
            value = data.decode("utf-8")
            value = value.strip() if suffix == "cls" else value
        elif suffix.rpartition(".")[2] not in _MEDIA:
            value = inputs.text_or_bytes(data)
        found = {name: value}
        if suffix == "json":
            parsed = inputs.parse_json(value)
            found = parsed if isinstance(parsed, dict) else {name: parsed}
        for column in found.keys() & columns.keys():
            raise ValueError(f"the column {column!r} stands twice")
        columns |= found
    return columns
