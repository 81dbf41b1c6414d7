"""From a source to parts: read, check, route."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from mmstream import alive, books, components, files, parts
from mmstream.errors import MmstreamError, RecordError, describe
from mmstream.interfaces import Row, Source, Split
from mmstream.labelling import dead_letter
from mmstream.media import Media
from mmstream.records import DUPLICATE, DeadLetter, Record, digest_of, origin_key, printable
from mmstream.spool import LARGE_BYTES, spool

SAMPLE_ROWS = 100
_ROUTED_TOGETHER = 4096
_LONG_TEXT = LARGE_BYTES // 4
"""Characters; whether a longer text is large depends on its bytes."""
_LONGEST_ID = 16 * 1024
"""Bytes of an id, which travels with all that becomes of its record."""


@dataclasses.dataclass(frozen=True)
class Input:
    """What a job reads, in a form that travels to workers.

    Attributes:
        use: name of the source component.
        parameters: of its constructor.
        path: file or folder.
        id: column of the id, None where the origin is the id.
        rename: new column name -> the name that it has in the input.
        limit: read only so many rows; None for all.
        roots: folders besides its own where media that it names may lie.
        number: among the inputs of its output, in the order in which they were first read.
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
        """Reads the media that it names; where it is no file, relative names start at the first of the roots."""
        if self.source().scheme:
            first, *others = [*self.roots, self.path]
            return Media(first, others)
        return Media(files.base(self.path), self.roots)

    def source(self) -> Source:
        """The source component."""
        return components.build("source", self.use, self.parameters)


def input_named(inputs: Sequence[Mapping[str, Any]], path: str = "") -> Input:
    """One of the inputs of an output, as job.json keeps them; it may have moved since.

    Args:
        inputs: of job.json, the latest last.
        path: where it lies now; "" where it was. One that is not known is read as the latest was.
    """
    path = files.absolute(path) if path else ""
    known = next((each for each in inputs if each["path"] == path), inputs[-1])
    return Input(**{**known, "path": path or known["path"]})


class Piece(NamedTuple):
    """One split to read: its number, and how many of its rows are wanted."""

    number: int
    split: Split
    rows: int


def pieces_of(job_input: Input) -> list[Piece]:
    """The splits of an input, cut off at its limit.

    Raises:
        MmstreamError: it cannot be read, or has no rows.
    """
    try:
        with alive.step(f"looking through {job_input.path}"):
            splits = job_input.source().splits(job_input.path)
    except OSError as error:
        raise MmstreamError(f"cannot read {job_input.path}: {describe(error)}") from error
    pieces, left = [], job_input.limit
    for number, split in enumerate(splits):
        rows = split.rows if left is None else min(split.rows, left)
        if rows:
            pieces.append(Piece(number, split, rows))
        left = None if left is None else left - rows
    if not pieces:
        raise MmstreamError(f"{job_input.path} has no records")
    return pieces


def rows_of(job_input: Input, pieces: Iterable[Piece]) -> Iterator[Row]:
    """The rows of some pieces."""
    for piece in pieces:
        rows = islice(job_input.source().read(piece.split), piece.rows)
        yield from alive.watched(f"reading {piece.split.origin or piece.split.path}", rows)


def sample(job_input: Input, pieces: Sequence[Piece]) -> list[Mapping[str, Any]]:
    """The columns of the first rows that can be read."""
    return columns_of(rows_of(job_input, pieces), job_input)


def columns_of(rows: Iterable[Row], job_input: Input) -> list[Mapping[str, Any]]:
    """The columns of the first of some rows that can be read, without the rest of what is large."""
    readable = (_renamed(glimpse(row.columns), job_input) for row in rows if row.columns is not None)
    return list(islice(readable, SAMPLE_ROWS))


def glimpse(columns: Mapping[str, Any]) -> dict[str, Any]:
    """A row with only the beginning of large texts and bytes, for samples that are kept in memory."""
    return {
        name: value[:LARGE_BYTES] if isinstance(value, str | bytes) and len(value) > LARGE_BYTES else value
        for name, value in columns.items()
    }


def check_row(row: Row, job_input: Input) -> Record | DeadLetter:
    """A row as a record, or the letter that says why it is none."""
    if row.error is not None or row.columns is None:
        error = row.error or ValueError("the source gave neither a row nor an error")
        raw = printable(row.raw)
        kind = type(error).__name__
        component = f"source:{job_input.use}"
        item: Record | DeadLetter = DeadLetter(
            "", row.origin, "read", "", component, kind, describe(error), raw, digest_of(raw)
        )
    elif job_input.id is None:
        item = Record(row.origin, row.origin, _renamed(row.columns, job_input))
    else:
        item = record_of(_renamed(row.columns, job_input), job_input.id, row.origin)
    return dataclasses.replace(item, input=job_input.number) if isinstance(item, DeadLetter) else item


def record_of(columns: Mapping[str, Any], id_column: str, origin: str) -> Record | DeadLetter:
    """A row as a record, or the letter that says that it has no id.

    Args:
        columns: of the row.
        id_column: that names it.
        origin: where it stands; "" for a row that stands nowhere, whose id is its origin.
    """
    value = columns.get(id_column)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and value.strip():
        try:
            size = len(value.encode("utf-8"))
        except UnicodeEncodeError as error:
            return _bad_id(origin, columns, describe(error))
        if size > _LONGEST_ID:
            return _bad_id(origin, columns, f"the id has {size:,} bytes; at most {_LONGEST_ID:,} are read")
        return Record(value, origin or value, columns)
    found = "nothing" if value is None else repr(value)
    return _bad_id(origin, columns, f"the id column {id_column!r} needs a text or a whole number; found {found:.80}")


def first_of_each(
    items: Iterable[Record | DeadLetter], standing: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[Record], list[DeadLetter]]:
    """The records of one part by id, and its dead letters; of equal ids the first origin stays, the others die.

    Args:
        items: of the part.
        standing: ids that stand elsewhere already, and where; records that are called so die.
    """
    records: dict[str, Record] = {}
    equal: dict[str, list[Record]] = {}
    letters = []
    for item in items:
        if isinstance(item, DeadLetter):
            letters.append(item)
        elif item.id in standing:
            letters.append(_duplicate(item, standing[item.id]))
        elif (found := records.setdefault(item.id, item)) is not item:
            equal.setdefault(item.id, [found]).append(item)
    for key, others in equal.items():
        first, *rest = sorted(others, key=lambda record: origin_key(record.origin))
        records[key] = first
        letters += [_duplicate(record, first.origin) for record in rest]
    return [records[key] for key in sorted(records)], letters


def dump_letters(letters: Iterable[DeadLetter]) -> bytes:
    """A dead-letter file: JSON lines, sorted by id, input and origin."""
    ordered = sorted(letters, key=lambda letter: (letter.id, letter.input, origin_key(letter.origin)))
    return "".join(f"{letter.to_json()}\n" for letter in ordered).encode()


def load_letters(data: bytes) -> list[DeadLetter]:
    """The letters of a dead-letter file."""
    return [DeadLetter.from_json(line) for line in data.decode().split("\n") if line]


def without_media(record: Record, reads: Mapping[str, bool], folder: str) -> Record:
    """A record that may cross a shuffle: references stand in it for large texts, and bytes that are media or not read.

    Digest and dead letter are the same as with them.

    Args:
        record: as it was read.
        reads: the columns that are read, and whether as media.
        folder: where they are spooled; "" for a pass that does not need them.
    """
    replaced: dict[str, Any] = {
        column: spool(value, folder if column in reads else "")
        for column, value in record.columns.items()
        if isinstance(value, bytes) and reads.get(column, True)
    }
    for column, value in record.columns.items():
        if isinstance(value, str) and len(value) > _LONG_TEXT:
            data = value.encode("utf-8", "surrogatepass")
            if len(data) > LARGE_BYTES:
                replaced[column] = spool(data, "" if reads.get(column, True) else folder, is_text=True)
    return dataclasses.replace(record, columns={**record.columns, **replaced}) if replaced else record


def item_of(row: Row, job_input: Input, reads: Mapping[str, bool], folder: str) -> Record | DeadLetter:
    """A row as a record without its media, or the letter that says why it is none; see `without_media`."""
    checked = check_row(row, job_input)
    return without_media(checked, reads, folder) if isinstance(checked, Record) else checked


@dataclasses.dataclass
class ReadRecords(beam.PTransform):
    """Pieces → records and dead letters; how many rows were read is noted in the output's run folder.

    Attributes:
        job_input: what is read.
        reads: the columns that are read, and whether as media; media that stand in rows go to the output's `spool/`.
        output: directory of the job's output, "" to note and spool nothing.
        run: the run's start.
    """

    job_input: Input
    reads: Mapping[str, bool]
    output: str = ""
    run: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pieces: beam.PCollection) -> beam.PCollection:
        """Spread the pieces over the workers and read them."""
        return pieces | beam.Reshuffle() | beam.FlatMap(self._read)

    def _read(self, piece: Piece) -> Iterator[Record | DeadLetter]:
        count = 0
        folder = files.join(self.output, "spool") if self.output else ""
        for row in rows_of(self.job_input, [piece]):
            count += 1
            yield item_of(row, self.job_input, self.reads, folder)
        if self.output:
            books.note(self.output, self.run, f"read-{piece.number:05d}", rows=count)


@dataclasses.dataclass
class RouteToParts(beam.PTransform):
    """Records and dead letters → (part, its items, packed); every part comes, empty ones too.

    Attributes:
        parts: P.
    """

    parts: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Group by part; only references cross the shuffle."""
        keyed = items | beam.ParDo(_Route(self.parts))
        return (keyed, every_part(items.pipeline, self.parts, pickle.dumps([]))) | beam.Flatten() | beam.GroupByKey()


def every_part(pipeline: beam.Pipeline, count: int, value: Any) -> beam.PCollection:
    """(part, value) for so many parts. A worker counts them: runners refuse a pipeline that names a million."""
    numbered = beam.FlatMap(_numbered, value).with_output_types(beam.typehints.Tuple[int, type(value)])
    return pipeline | beam.Create([count]) | "EveryPart" >> numbered


def _numbered(count: int, value: Any) -> Iterator[tuple[int, Any]]:
    return ((number, value) for number in range(count))


def part_of_item(item: Record | DeadLetter, count: int) -> int:
    """The part, of so many, that a record or dead letter belongs to."""
    return parts.part_of(item.id or item.origin, count)


def unpacked(packed: Iterable[bytes]) -> list[Record | DeadLetter]:
    """The items of a part as `RouteToParts` packs them."""
    return [item for some in packed for item in pickle.loads(some)]


class _Route(beam.DoFn):
    """Items → (part, some of its items, packed): bytes cost Beam a fraction of what objects do."""

    def __init__(self, parts: int) -> None:
        self._parts = parts

    def start_bundle(self) -> None:
        self._count = 0
        self._waiting: dict[int, list[Record | DeadLetter]] = {}

    def process(self, item: Record | DeadLetter) -> Iterator[tuple[int, bytes]]:
        self._waiting.setdefault(part_of_item(item, self._parts), []).append(item)
        self._count += 1
        if self._count == _ROUTED_TOGETHER:
            yield from self._packed()
            self.start_bundle()

    def finish_bundle(self) -> Iterator[Any]:
        for pair in self._packed():
            yield GlobalWindows.windowed_value(pair)

    def _packed(self) -> Iterator[tuple[int, bytes]]:
        for part, items in self._waiting.items():
            yield part, pickle.dumps(items, pickle.HIGHEST_PROTOCOL)


def _duplicate(record: Record, origin: str) -> DeadLetter:
    error = RecordError(f"the id {record.id!r} stands already at {origin}", stage="check", error=DUPLICATE)
    return dead_letter(record, error, digest_of(record.columns), "")


def _renamed(columns: Mapping[str, Any], job_input: Input) -> dict[str, Any]:
    renamed = dict(columns)
    for name, original in job_input.rename.items():
        renamed[name] = columns.get(original)
    return renamed


def _bad_id(origin: str, columns: Mapping[str, Any], message: str) -> DeadLetter:
    raw = printable(columns)
    return DeadLetter("", origin, "check", "", "", "MissingId", message, raw, digest_of(raw))
