"""The stage of `mmstream label`: one part's records to label rows, committed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, ClassVar

import apache_beam as beam
from apache_beam.utils.shared import Shared

from mmstream import books, components, files, parts
from mmstream.concurrency import Workers
from mmstream.errors import MmstreamError
from mmstream.interfaces import LabelType, Sink
from mmstream.labelling import digests_of, label_batch, label_records
from mmstream.media import Media
from mmstream.preprocessing import READ, Resume
from mmstream.records import DeadLetter, Record
from mmstream.stages.ahead import WorkAhead
from mmstream.stages.reading import dump_letters, first_of_each, load_letters
from mmstream.trained_model import TrainedModel

LabelRow = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What a part holds, or is to hold.

    Attributes:
        rows: labels.
        letters: dead letters.
        damaged: its files that are not as they were committed, and what is wrong with each; they are not read.
        lost: how many rows and letters these held.
    """

    rows: list[LabelRow]
    letters: list[DeadLetter]
    damaged: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lost: int = 0

    def __len__(self) -> int:
        """Rows and letters."""
        return len(self.rows) + len(self.letters)


def label_part(
    part: int,
    items: Sequence[Record | DeadLetter],
    *,
    input_number: int,
    model: TrainedModel,
    media: Media,
    sink: Sink,
    output: str,
    run: str,
    prune: bool,
    workers: Workers,
) -> dict[str, int | list[str]]:
    """Label what a part does not hold yet, and commit it.

    Rows and dead letters of an earlier run stay where id, digest and fingerprint are equal. Those of records that this
    input does not have stay too, as an output may be fed from several inputs, unless they are pruned.

    Returns:
        {"read", "labelled", "dead_lettered", "skipped", "letters", "kept", "pruned", "of_another_model", "lost",
        "damaged"}: records of this input by what became of them in this run, how many of them are dead letters now, and
        how many rows and letters of other inputs the part keeps, no longer has as they were pruned, keeps though
        another model made them, or has lost, at least, in a damaged file; and what is wrong with these files.

    Raises:
        MmstreamError: another job has taken the output over, or rows of other inputs have other columns.
    """
    parts.finish(output, part)
    records, letters = first_of_each(items)
    before = read_part(output, part, sink, model.schema)
    kept, todo = still_valid(records, before, model, media, workers)
    fresh = [result for _, result in label_records(todo, model, media, workers=workers)]
    others = _of_other_inputs(before, items, input_number)
    count_of_others = len(others)
    lost = before.lost - (len(items) - (len(before) - count_of_others))  # less those that may have been of this input
    if prune:
        others = Labelled([], [])
    _check_columns(others, model, parts.part_name(part))
    known = {letter.to_json() for letter in before.letters}
    old_letters = [letter for letter in letters if letter.to_json() in known]

    results = [*kept, *fresh, *letters, *others.rows, *others.letters]
    rows = sorted((r for r in results if not isinstance(r, DeadLetter)), key=lambda row: row["id"])
    all_letters = [result for result in results if isinstance(result, DeadLetter)]
    rows_path, letters_path = label_paths(part, sink)
    parts.commit_part(
        output,
        part,
        model.fingerprint,
        {"labelled": len(rows), "dead_lettered": len(all_letters)},
        {rows_path: sink.dumps(rows, model.schema), letters_path: dump_letters(all_letters)},
        holder=run,
    )
    failed = sum(isinstance(result, DeadLetter) for result in fresh)
    return {
        "read": len(items),
        "labelled": len(fresh) - failed,
        "dead_lettered": failed + len(letters) - len(old_letters),
        "skipped": len(kept) + len(old_letters),
        "letters": len(all_letters) - len(others.letters),
        "kept": 0 if prune else count_of_others,
        "pruned": count_of_others if prune else 0,
        "of_another_model": sum(row["_fingerprint"] != model.fingerprint for row in others.rows)
        + sum(letter.fingerprint not in ("", model.fingerprint) for letter in others.letters),
        "lost": 0 if prune else max(0, lost),
        "damaged": [f"{path} {problem}" for path, problem in before.damaged.items()],
    }


def read_part(output: str, part: int, sink: Sink, schema: Mapping[str, LabelType]) -> Labelled:
    """What a part holds; nothing where it was never committed."""
    commit = parts.recorded(output, part)
    if commit is None:
        return Labelled([], [], parts.damaged_record(output, part))
    damaged = parts.damaged_files(output, commit)
    rows_path, letters_path = label_paths(part, sink)
    rows = [] if rows_path in damaged else sink.loads(files.read_bytes(files.join(output, rows_path)), schema)
    letters = [] if letters_path in damaged else load_letters(files.read_bytes(files.join(output, letters_path)))
    return Labelled(rows, letters, damaged, sum(commit.counts.values()) - len(rows) - len(letters))


def still_valid(
    records: Sequence[Record], before: Labelled, model: TrainedModel, media: Media, workers: Workers
) -> tuple[list[LabelRow | DeadLetter], list[Record]]:
    """Results of an earlier run that this model would give again, and the records that are left to do."""
    rows = {row["id"]: row for row in before.rows if row["_fingerprint"] == model.fingerprint}
    letters = {letter.id: letter for letter in before.letters if letter.fingerprint == model.fingerprint}
    candidates = [record for record in records if record.id in rows or record.id in letters]
    digest_of_id = dict(digests_of(candidates, model.preprocessor, media, workers))
    kept: list[LabelRow | DeadLetter] = []
    todo = []
    for record in records:
        row, letter, digest = rows.get(record.id), letters.get(record.id), digest_of_id.get(record.id)
        if row and row["_digest"] == digest:
            kept.append({**row, "_origin": record.origin})
        elif letter and letter.digest == digest:
            kept.append(dataclasses.replace(letter, origin=record.origin))
        else:
            todo.append(record)
    return kept, todo


def label_paths(part: int, sink: Sink) -> tuple[str, str]:
    """A part's file of rows and its file of dead letters, below the output."""
    name = parts.part_name(part)
    return f"labels/{name}{sink.suffix}", f"dead_letters/{name}.jsonl"


@dataclasses.dataclass
class SharedModel:
    """A model that all threads of a worker process share, opened there when it is first needed.

    Attributes:
        path: directory of the model.
        embeddings: whether rows get embeddings.
        resume: what a record's digest reads; None for what the model's config says.
    """

    path: str
    embeddings: bool
    resume: Resume | None = None

    def __post_init__(self) -> None:
        self._shared = Shared()

    def __call__(self) -> TrainedModel:
        """The model."""
        return self._shared.acquire(self._open)

    def _open(self) -> TrainedModel:
        return TrainedModel(self.path, embeddings=self.embeddings, resume=self.resume)


@dataclasses.dataclass
class LabelParts(beam.PTransform):
    """(part, its items, packed) → committed label files; gives each part's counts.

    Attributes:
        model: that labels.
        sink: name of the sink component.
        input_number: of the input in job.json.
        media: where media may lie.
        output: directory of the output.
        run: the run's start.
        prune: remove what the output holds of records that are not in the input.
        threads: that decode and predict, in each worker process.
    """

    model: SharedModel
    sink: str
    input_number: int
    media: Media
    output: str
    run: str
    prune: bool
    threads: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Label two parts at a time."""
        return grouped | beam.ParDo(WorkAhead(self._label, self.threads))

    def _label(self, part: int, items: list[Record | DeadLetter], workers: Workers) -> list[Any]:
        started = time.monotonic()
        model = self.model()
        counts = label_part(
            part,
            items,
            input_number=self.input_number,
            model=model,
            media=self.media,
            sink=components.build("sink", self.sink, {}),
            output=self.output,
            run=self.run,
            prune=self.prune,
            workers=workers,
        )
        seconds = round(time.monotonic() - started, 3)
        books.note(self.output, self.run, parts.part_name(part), **counts, seconds=seconds, **smaller_batch(model))
        return [counts]


def smaller_batch(model: TrainedModel) -> dict[str, int]:
    """What a part's note says of the batch size where memory has run out; {} where it has not."""
    return {"smaller_batch": model.batch} if model.batch != model.about["batch"] else {}


@dataclasses.dataclass(frozen=True)
class LabelTrial:
    """Labels records on behalf of the supervisor (`mmstream.worker`), and throws the labels away.

    Attributes:
        model: that labels.
        media: where media may lie.
    """

    model: SharedModel
    media: Media

    steps: ClassVar[tuple[str, ...]] = (READ, "label")

    def prepare(self) -> None:
        """Load the model."""
        self.model().prepare()

    def take(self, step: str, record: Record) -> None:
        """Read a record, or label it."""
        if step == READ:
            self.model().preprocessor.load(record, self.media)
        else:
            label_batch([record], self.model(), self.media)


def _check_columns(others: Labelled, model: TrainedModel, part: str) -> None:
    """Rows that stay have the columns of this model's.

    Raises:
        MmstreamError: some have not.
    """
    differ = [row for row in others.rows if row.keys() != model.schema.keys()]
    if differ:
        columns = ", ".join(sorted(differ[0].keys() ^ model.schema.keys()))
        raise MmstreamError(
            f"{part} holds {len(differ)} rows of records that this input does not have, made by a model with other "
            f"columns (they differ in {columns}); remove them with --prune, or name another --output"
        )


def _of_other_inputs(before: Labelled, items: Iterable[Record | DeadLetter], input_number: int) -> Labelled:
    """What a part holds of records that this input does not have, and of rows without an id of other inputs."""
    ids = {item.id for item in items if item.id}
    return Labelled(
        [row for row in before.rows if row["id"] not in ids],
        [letter for letter in before.letters if _stays(letter, ids, input_number)],
    )


def _stays(letter: DeadLetter, ids: Set[str], input_number: int) -> bool:
    return letter.id not in ids if letter.id else letter.input != input_number
