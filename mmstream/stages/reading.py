"""From a source to parts: read, check, route."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import apache_beam as beam

from mmstream import components, parts
from mmstream.errors import MmstreamError, RecordError, describe
from mmstream.interfaces import Row, Source, Split
from mmstream.labelling import dead_letter
from mmstream.records import DeadLetter, Record, digest_of, origin_key, printable

_SAMPLE_ROWS = 100


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
    """

    use: str
    parameters: Mapping[str, Any]
    path: str
    id: str | None = None
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limit: int | None = None

    def source(self) -> Source:
        """The source component."""
        return components.build("source", self.use, self.parameters)


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


def sample(job_input: Input, pieces: Sequence[Piece]) -> list[Mapping[str, Any]]:
    """The columns of the first rows that can be read."""
    rows = (row for piece in pieces for row in islice(job_input.source().read(piece.split), piece.rows))
    readable = (_renamed(row.columns, job_input) for row in rows if row.columns is not None)
    return list(islice(readable, _SAMPLE_ROWS))


def check_row(row: Row, job_input: Input) -> Record | DeadLetter:
    """A row as a record, or the letter that says why it is none."""
    if row.error is not None or row.columns is None:
        error = row.error or ValueError("the source gave neither a row nor an error")
        raw = printable(row.raw)
        kind = type(error).__name__
        return DeadLetter(
            "", row.origin, "read", "", f"source:{job_input.use}", kind, describe(error), raw, digest_of(raw)
        )
    columns = _renamed(row.columns, job_input)
    if job_input.id is None:
        return Record(row.origin, row.origin, columns)
    value = columns.get(job_input.id)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and value.strip():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            return _bad_id(row.origin, columns, describe(error))
        return Record(value, row.origin, columns)
    found = "nothing" if value is None else repr(value)
    return _bad_id(
        row.origin, columns, f"the id column {job_input.id!r} needs a text or a whole number; found {found:.80}"
    )


def first_of_each(items: Iterable[Record | DeadLetter]) -> tuple[list[Record], list[DeadLetter]]:
    """The records of one part by id, and its dead letters; of equal ids the first origin stays, the others die."""
    records: dict[str, Record] = {}
    letters = [item for item in items if isinstance(item, DeadLetter)]
    for record in sorted((i for i in items if isinstance(i, Record)), key=lambda r: origin_key(r.origin)):
        first = records.setdefault(record.id, record)
        if first is not record:
            message = f"the id {record.id!r} stands already at {first.origin}"
            error = RecordError(message, stage="check", error="DuplicateId")
            letters.append(dead_letter(record, error, digest_of(record.columns), ""))
    return [records[key] for key in sorted(records)], letters


def dump_letters(letters: Iterable[DeadLetter]) -> bytes:
    """A dead-letter file: JSON lines, sorted by id and origin."""
    ordered = sorted(letters, key=lambda letter: (letter.id, origin_key(letter.origin)))
    return "".join(f"{letter.to_json()}\n" for letter in ordered).encode()


def load_letters(data: bytes) -> list[DeadLetter]:
    """The letters of a dead-letter file."""
    return [DeadLetter.from_json(line) for line in data.decode().split("\n") if line]


@dataclasses.dataclass
class ReadRecords(beam.PTransform):
    """Pieces → records and dead letters; how many rows were read is noted in the output's run folder.

    Attributes:
        job_input: what is read.
        output: directory of the job's output, "" to note nothing.
        run: the run's start.
    """

    job_input: Input
    output: str = ""
    run: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pieces: beam.PCollection) -> beam.PCollection:
        """Spread the pieces over the workers and read them."""
        return pieces | beam.Reshuffle() | beam.FlatMap(self._read)

    def _read(self, piece: Piece) -> Iterator[Record | DeadLetter]:
        count = 0
        for row in islice(self.job_input.source().read(piece.split), piece.rows):
            count += 1
            yield check_row(row, self.job_input)
        if self.output:
            parts.note(self.output, self.run, f"read-{piece.number:05d}", rows=count)


@dataclasses.dataclass
class RouteToParts(beam.PTransform):
    """Records and dead letters → (part, its items); every part comes, empty ones too.

    Attributes:
        parts: P.
    """

    parts: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Group by part; only references cross the shuffle."""
        keyed = items | "Key" >> beam.Map(lambda item: (parts.part_of(item.id or item.origin, self.parts), item))
        every = items.pipeline | beam.Create([(part, None) for part in range(self.parts)])
        grouped = (keyed, every) | beam.Flatten() | beam.GroupByKey()
        return grouped | "Drop markers" >> beam.MapTuple(lambda part, all_: (part, [i for i in all_ if i is not None]))


def _renamed(columns: Mapping[str, Any], job_input: Input) -> dict[str, Any]:
    renamed = dict(columns)
    for name, original in job_input.rename.items():
        renamed[name] = columns.get(original)
    return renamed


def _bad_id(origin: str, columns: Mapping[str, Any], message: str) -> DeadLetter:
    raw = printable(columns)
    return DeadLetter("", origin, "check", "", "", "MissingId", message, raw, digest_of(raw))
