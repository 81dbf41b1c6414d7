"""WebDataset: tar archives in which members that share a stem are one record."""

from __future__ import annotations

import contextlib
import dataclasses
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from mmstream.errors import MmstreamError, brief
from mmstream.inputs.listing import HIDDEN, Passed
from mmstream.interfaces import Row, Source, Split
from mmstream.runtime.alive import progress
from mmstream_io import conversion, inputs, limits
from mmstream_io.stems import APART, Stems, dots_in
from mmstream_io.tar import Member, members_of

SPLIT_BYTES = 64 * 1024 * 1024
KEY = "__key__"
"""The column that holds the stem, named as in WebDataset itself."""
_COLUMNS = {
    **dict.fromkeys(inputs.PICTURES, "image"),
    **dict.fromkeys(inputs.SOUNDS, "audio"),
    **dict.fromkeys(inputs.VIDEOS, "video"),
    "txt": "text",
    "cls": "category",
}
"""The column of a member that is the only one of its kind, by suffix."""
_MEDIA = frozenset(suffix for suffix in _COLUMNS if suffix not in ("txt", "cls"))
_TEXTS = ("txt", "cls", "json")
_SHOWN = 20
"""If a record cannot be read, its dead letter lists at most this many of its members."""
_NAME = 80


@dataclasses.dataclass
class _Record:
    """Members that share a stem.

    Attributes:
        stem: of the record; "" for a part of the archive that is not a record.
        start: byte at which the first one begins.
        end: position after the last byte of the last one.
        sizes: bytes of the members, by suffix.
        members: contents by suffix; empty if they are not read.
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
        """Mark the record as unreadable, for the first reason given, and drop the contents of its members."""
        self.error = self.error or ValueError(problem)
        self.members = {}


class Webdataset(Source):
    """Reads tar archives, gzipped or not, in which "0001.jpg" and "0001.json" are one record with the stem 0001.

    The stem is a member's path up to the first dot of its name; it becomes the column `__key__`. Each member becomes a
    column: the only picture is `image`, the only sound `audio`, the only video `video`, .txt is `text` and .cls
    `category`; several of a kind, and any other member, are named by their suffix. The keys of a .json object become
    columns themselves. Hidden members, and those in hidden folders, are passed over.

    The members of a record must follow each other, as `tar --sort=name` writes them: a record whose members lie apart
    is never read in part, but becomes one row with an error; an archive of only such records is refused. A record whose
    members seem to have stems with dots ("22.01.png", "22.01.json", "22.02.png", …) becomes a row with an error, too.

    So does a record with a member that is cut off, is duplicated, has no suffix, is not a plain file, or has headers of
    more than 1 MiB; a record of more than 64 MiB, or of more than 16,384 members or columns; and the place at which an
    archive is damaged, is cut off, or continues after its end mark, as it is not known what followed.

    Source: https://github.com/webdataset/webdataset
    """

    suffixes = (".tar", ".tar.gz", ".tgz")

    def splits(self, path: str) -> list[Split]:
        """Pieces of about 64 MiB, divided between records; a gzipped archive is a single piece.

        Raises:
            MmstreamError: a file cannot be read, holds no record whose members follow each other, or holds too many
                records.
        """
        passed = Passed()
        splits = [split for file in inputs.find(self, path, "webdataset", passed) for split in _cut(file, passed)]
        self.passed_over = passed.told()
        return splits

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is "<file>/<stem>"."""
        with inputs.open_file(split.path) as file:
            file.seek(split.start)
            records = _records(file, split.end) if split.end else _together(file, split.path)
            for number, record in enumerate(records, split.first):
                yield _row(f"{split.origin}/{record.stem or f'record {number}'}", record)


def _cut(file: inputs.InputFile, passed: Passed) -> list[Split]:
    """The pieces of an archive; a single one, which ends at 0, if members of some records lie apart.

    Raises:
        MmstreamError: it is not an archive, or not one that can be read.
    """
    splits = []
    start = end = rows = 0
    first = 1
    most = inputs.piece_bytes(file.path, SPLIT_BYTES)
    stems = Stems(file.path)
    dotted, dots = 0, ""
    with inputs.open_file(file.path) as opened:
        for record in stems.noted(_records(opened, None, _Skim(file.origin, passed))):
            if record.error and not record.stem and not record.start:
                raise MmstreamError(f"{file.path} is not a tar archive")
            if rows and record.end - start > most:
                splits.append(Split(file.path, rows, file.origin, first, start, end))
                start, first, rows = record.start, first + rows, 0
            rows, end = rows + 1, record.end
            if record.stem and dotted == len(stems.seen) - 1 and (problem := dots_in(record.stem, record.sizes)):
                dotted, dots = dotted + 1, dots or problem
    if dots and dotted == len(stems.seen):
        raise MmstreamError(f"{file.path}: {dots}")
    if stems.scattered:
        if stems.scattered == stems.seen:
            raise MmstreamError(f"{file.path}: {APART.format(brief(min(stems.seen)))}")
        return [Split(file.path, first + rows - 1 - stems.repeats, file.origin)]
    return [*splits, Split(file.path, rows, file.origin, first, start, end)] if rows else splits


def _together(file: BinaryIO, path: str) -> Iterator[_Record]:
    """The records of an archive; each one whose members lie apart is given once, with an error."""
    stems = Stems(path)
    for _ in stems.noted(_records(file, None, _Skim())):
        progress()
    file.seek(0)
    yielded: set[str] = set()
    for record in _records(file, None):
        if record.stem in yielded:
            continue
        if record.stem in stems.scattered:
            yielded.add(record.stem)
            record.fail(APART.format(brief(record.stem)))
        yield record


class _Skim(NamedTuple):
    """A pass over an archive without the contents of its members.

    Attributes:
        origin: of the archive.
        passed: counts hidden members.
    """

    origin: str = ""
    passed: Passed | None = None


def _records(file: BinaryIO, end: int | None, skim: _Skim | None = None) -> Iterator[_Record]:
    """The records of an archive from here on."""
    record: _Record | None = None
    for member in _members(file, end):
        if isinstance(member, _Record):
            if record:
                yield record
            record = member
            continue
        stem, suffix = _divided(member.name)
        if member.is_folder:
            continue
        if not stem:
            if skim and skim.passed:
                skim.passed.add(HIDDEN, f"{skim.origin}/{member.name[:_NAME].removeprefix('./')}")
            continue
        if record is None or record.stem != stem:
            if record:
                yield record
            record = _Record(stem, member.start)
        record.end = member.end
        problem = _problem_of(member, suffix, record)
        if problem:
            record.fail(f"the member {member.name[:_NAME]!r} {problem}")
        elif skim is None and not record.error:
            file.seek(member.data)
            record.members[suffix] = data = file.read(member.size)
            if len(data) < member.size:
                record.fail(f"the archive ends within the member {member.name[:_NAME]!r}")
        if not record.error or len(record.sizes) < _SHOWN:
            record.sizes[suffix] = member.size
    if record:
        yield record


def _problem_of(member: Member, suffix: str, record: _Record) -> str:
    """Say why a member cannot be part of a record, "" if it can; its size is counted in either case."""
    record.total += member.size + len(member.name)
    if member.problem:
        return member.problem
    if not member.is_plain:
        return "is not a plain file"
    if member.size > limits.MAX_ROW_BYTES:
        return f"has {member.size:,} bytes, which is too many"
    if not suffix:
        return "has no suffix to name its column"
    if suffix in record.sizes:
        return "occurs twice"
    if record.total > limits.MAX_ROW_BYTES:
        return f"and those before it have more than {limits.MAX_ROW_BYTES:,} bytes, which is too many for one record"
    if len(record.sizes) >= limits.MAX_COLUMNS:
        return f"is one of more than {limits.MAX_COLUMNS:,} members, which is too many for one record"
    return ""


def _members(file: BinaryIO, end: int | None) -> Iterator[Member | _Record]:
    """The members of an archive from here on.

    If the archive is not intact, the last is a record that says what is wrong.
    """
    place = file.tell()
    with contextlib.suppress(tarfile.TarError, ValueError):  # `_problem` finds out what ended it
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
    """Say what is wrong with an archive whose members end at a position; None if its end mark is there."""
    file.seek(place)
    block = file.read(tarfile.BLOCKSIZE)
    more = False
    while rest := file.read(1 << 20):  # to the end, where a compressed file has the checksum of its content
        progress()
        more = more or rest.count(0) < len(rest)
    if len(block) < tarfile.BLOCKSIZE:
        return "the archive ends without an end mark; what may have followed is lost"
    if any(block):
        return "no member begins here; what follows cannot be read"
    return "the archive continues after its end mark; what follows is not read" if more else None


def _divided(name: str) -> tuple[str, str]:
    """The stem and the suffix of a member; the stem of a hidden member is ""."""
    name = name.removeprefix("./")
    folder, slash, file = name.rpartition("/")
    first, _, suffix = file.partition(".")
    hidden = any(part.startswith(".") and part.strip(".") for part in name.split("/"))
    return ("" if hidden else f"{folder}{slash}{first}"), suffix.lower()


def _row(origin: str, record: _Record) -> Row:
    origin, key = (text.encode("utf-8", "backslashreplace").decode() for text in (origin, record.stem))
    shown = list(record.sizes.items())[:_SHOWN]
    sizes = {suffix[:_NAME]: f"{size:,} bytes" for suffix, size in shown}
    if len(shown) < len(record.sizes):
        sizes["…"] = f"{len(record.sizes) - len(shown):,} more"
    if record.error:
        return Row(origin, None, {KEY: key, **sizes}, record.error)
    try:
        return Row(origin, _columns(key, record.members))
    except ValueError as error:
        return Row(origin, None, {KEY: key, **sizes}, error)


def _columns(key: str, members: Mapping[str, bytes]) -> dict[str, Any]:
    """A record's columns.

    Raises:
        ValueError: a text is not UTF-8, a .json is not JSON, a column occurs twice, there are too many columns, or the
            members seem to be of several records.
    """
    if problem := dots_in(key, members):
        raise ValueError(problem)
    kinds = Counter(_COLUMNS.get(suffix, suffix) for suffix in members)
    columns: dict[str, Any] = {KEY: key}
    for suffix, data in members.items():
        kind = _COLUMNS.get(suffix, suffix)
        name = kind if kinds[kind] == 1 else suffix
        value: Any = data
        if suffix in _TEXTS:
            value = conversion.text_of(data)
            value = value.strip() if suffix == "cls" else value
        elif suffix.rpartition(".")[2] not in _MEDIA:
            value = conversion.text_or_bytes(data)
        own = {name: value}
        if suffix == "json":
            parsed = conversion.parse_json(value)
            own = parsed if isinstance(parsed, dict) else {name: parsed}
        for column in own.keys() & columns.keys():
            raise ValueError(f"the column {column[:_NAME]!r} occurs twice: as a key of the .json and as a member")
        columns |= own
        if len(columns) > limits.MAX_COLUMNS:
            raise ValueError(f"the record has {len(columns):,} columns; the limit is {limits.MAX_COLUMNS:,}")
    return columns
