"""The stage of `mmstream label`: one part's records to label rows, committed."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, ClassVar

import apache_beam as beam
from apache_beam.utils.shared import Shared

from mmstream import books, commits, components, parts
from mmstream.concurrency import Workers
from mmstream.errors import MmstreamError
from mmstream.interfaces import LabelType, Sink
from mmstream.labelling import digests_of, label_batch, label_records
from mmstream.media import Media
from mmstream.preprocessing import READ, Resume
from mmstream.records import DUPLICATE, DeadLetter, Record
from mmstream.stages.ahead import WorkAhead
from mmstream.stages.reading import dump_letters, first_of_each, load_letters
from mmstream.successors import Successors
from mmstream.trained_model import TrainedModel
from mmstream.unfinished import begun

_LOOK_SECONDS = 5.0
"""How often a process looks for a newer model."""
LabelRow = dict[str, Any]
Counts = dict[str, int | list[str]]
StillThere = Callable[[str, str], bool]
"""(origin, id) → whether a row of this id, "" for one that is no record, stands there and was not read again."""


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What a part holds, or is to hold.

    Attributes:
        rows: labels.
        letters: dead letters.
        commit: its record, None where it was never committed.
        damaged: its files that are not as they were committed, and what is wrong with each; they are not read.
        lost: how many rows and letters these held.
    """

    rows: list[LabelRow]
    letters: list[DeadLetter]
    commit: commits.Commit | None = None
    damaged: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lost: int = 0

    def __len__(self) -> int:
        """Rows and letters."""
        return len(self.rows) + len(self.letters)


def _to_nobody(results: Sequence[LabelRow | DeadLetter]) -> None:
    """Publish nothing."""


def label_drafts(
    drafts: Sequence[Draft],
    *,
    model: TrainedModel,
    media: Media,
    prune: bool,
    workers: Workers,
    publish: Callable[[Sequence[LabelRow | DeadLetter]], None] = _to_nobody,
) -> list[Counts]:
    """Label what some parts do not hold yet, together, then commit each; their counts, as `Draft.commit` has them.

    What is new is published before it is committed: who dies in between publishes it once more.

    Rows and dead letters of an earlier run stay where id, digest and fingerprint are equal. Those of records that are
    not among the items stay too, as an output may be fed from several inputs, unless they are pruned.

    Raises:
        MmstreamError: another job has taken the output over, or rows of other inputs have other columns.
    """
    todo = (record for draft in drafts for record in draft.todo)
    fresh = iter([result for _, result in label_records(todo, model, media, workers=workers)])
    counts = []
    for draft in drafts:
        results = [next(fresh) for _ in draft.todo]
        publish([*results, *draft.new_letters])
        counts.append(draft.commit(results, prune=prune))
    return counts


def _nowhere(origin: str, key: str) -> bool:
    return False


@dataclasses.dataclass
class Draft:
    """A part that is being brought up to date.

    Attributes:
        part: its number.
        todo: records that are to be labelled.
    """

    part: int
    todo: list[Record]
    _model: TrainedModel
    _sink: Sink
    _output: str
    _parts: int
    _run: str
    _items: int
    _kept: list[LabelRow | DeadLetter]
    _letters: list[DeadLetter]
    _before: Labelled
    _others: Labelled

    @classmethod
    def of(
        cls,
        part: int,
        items: Sequence[Record | DeadLetter],
        *,
        input_number: int,
        model: TrainedModel,
        media: Media,
        sink: Sink,
        output: str,
        parts_count: int,
        run: str,
        workers: Workers,
        still_there: StillThere = _nowhere,
        of_any_model: bool = False,
    ) -> Draft:
        """What a part holds, beside what has been read.

        Args:
            part: its number.
            items: of it, that have been read.
            input_number: of the input in job.json.
            model: that labels.
            media: where media may lie.
            sink: of the labels.
            output: directory of the output.
            parts_count: P.
            run: that must still hold the output when the part is committed; "" where nothing holds it.
            workers: that digest records.
            still_there: whether the input has a row that is not among the items; no, where these are all.
            of_any_model: leave the labels of records that have not changed, whichever model made them.
        """
        commits.finish(output, part, run)
        before = read_part(output, part, sink, model.schema)
        standing = _standing(before, {item.id for item in items}, still_there)
        records, letters = first_of_each(items, standing)
        kept, todo = still_valid(records, before, model, media, workers, of_any_model=of_any_model)
        ids = {record.id for record in records}
        read = {(letter.id, letter.origin) for letter in letters}
        others = Labelled(
            [row for row in before.rows if row["id"] not in ids],
            [each for each in before.letters if _stays(each, ids, read, input_number, still_there)],
        )
        return cls(part, todo, model, sink, output, parts_count, run, len(items), kept, letters, before, others)

    @property
    def damaged(self) -> Mapping[str, str]:
        """Files of the part that are not as they were committed, and what is wrong with each."""
        return self._before.damaged

    @property
    def new_letters(self) -> list[DeadLetter]:
        """Items that are no records, or have an id that is taken, and that the part does not hold as such yet."""
        known = {letter.to_json() for letter in self._before.letters}
        return [letter for letter in self._letters if letter.to_json() not in known]

    def commit(self, fresh: Sequence[LabelRow | DeadLetter], *, prune: bool) -> Counts:
        """Commit the part, given what has become of each record of `todo`.

        Args:
            fresh: label rows and dead letters.
            prune: remove results of records that are not among the items.

        Returns:
            {"read", "labelled", "dead_lettered", "skipped", "letters", "kept", "pruned", "of_another_model", "lost",
            "damaged"}: the items by what became of them in this run, how many of them are dead letters now, and how
            many other rows and letters the part keeps, no longer has as they were pruned, keeps though another model
            made them, or has lost, at least, in a damaged file; and what is wrong with these files.

        Raises:
            MmstreamError: another job has taken the output over, somebody else has changed the part in the meantime, or
                other rows have other columns.
        """
        model, sink, before = self._model, self._sink, self._before
        count_of_others = len(self._others)
        # of what is lost, so many may have been of this input
        lost = before.lost - max(0, self._items - (len(before) - count_of_others))
        others = Labelled([], []) if prune else self._others
        _check_columns(others, model, parts.part_name(self.part))
        new_letters = self.new_letters

        results = [*self._kept, *fresh, *self._letters, *others.rows, *others.letters]
        rows = sorted((r for r in results if not isinstance(r, DeadLetter)), key=lambda row: row["id"])
        all_letters = [result for result in results if isinstance(result, DeadLetter)]
        rows_path, letters_path = label_paths(self.part, sink)
        aside = {path: self._put_aside(path, problem) for path, problem in before.damaged.items()}
        commits.commit_part(
            self._output,
            self.part,
            model.fingerprint,
            {"labelled": len(rows), "dead_lettered": len(all_letters)},
            {rows_path: sink.dumps(rows, model.schema), letters_path: dump_letters(all_letters)},
            parts=self._parts,
            onto=before.commit,
            run=self._run,
        )
        failed = sum(isinstance(result, DeadLetter) for result in fresh)
        return {
            "read": self._items,
            "labelled": len(fresh) - failed,
            "dead_lettered": failed + len(new_letters),
            "skipped": len(self._kept) + len(self._letters) - len(new_letters),
            "letters": len(all_letters) - len(others.letters),
            "kept": 0 if prune else count_of_others,
            "pruned": count_of_others if prune else 0,
            "of_another_model": sum(row["_fingerprint"] != model.fingerprint for row in others.rows)
            + sum(letter.fingerprint not in ("", model.fingerprint) for letter in others.letters),
            "lost": 0 if prune else max(0, lost),
            "damaged": [f"{path} {problem}{aside[path]}" for path, problem in before.damaged.items()],
        }

    def _put_aside(self, path: str, problem: str) -> str:
        """Keep a damaged file that is there; what is said of that."""
        if problem == commits.IS_NOT_THERE:
            return ""
        return f" (it lies in {commits.put_aside(self._output, path, self._run)} now)"


def read_part(output: str, part: int, sink: Sink, schema: Mapping[str, LabelType]) -> Labelled:
    """What a part holds, its files read once; nothing where it was never committed.

    Raises:
        DamagedFileError: its commit record is not valid.
        OSError: something that is there cannot be read.
    """
    commit = commits.recorded(output, part)
    if commit is None:
        return Labelled([], [])
    contents = commits.read_files(output, commit)
    rows_path, letters_path = label_paths(part, sink)
    rows = sink.loads(contents.sound[rows_path], schema) if rows_path in contents.sound else []
    letters = load_letters(contents.sound[letters_path]) if letters_path in contents.sound else []
    lost = sum(commit.counts.values()) - len(rows) - len(letters) if contents.damaged else 0
    return Labelled(rows, letters, commit, contents.damaged, lost)


def still_valid(
    records: Sequence[Record],
    before: Labelled,
    model: TrainedModel,
    media: Media,
    workers: Workers,
    *,
    of_any_model: bool,
) -> tuple[list[LabelRow | DeadLetter], list[Record]]:
    """Results of an earlier run that this model would give again, or any would; and the records that are left to do."""
    rows = {row["id"]: row for row in before.rows if of_any_model or row["_fingerprint"] == model.fingerprint}
    letters = {
        letter.id: letter
        for letter in before.letters
        if letter.fingerprint == model.fingerprint or (of_any_model and letter.fingerprint)
    }
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
        follow: folder of models, the newest of which takes over; "" where this one stays.
        fingerprint: that the model must have where it is opened; "" for any.
    """

    path: str
    embeddings: bool
    resume: Resume | None = None
    follow: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        self._shared = Shared()

    def __call__(self) -> TrainedModel:
        """The model."""
        opened: _Opened = self._shared.acquire(self._open)
        return opened.current()

    def _open(self) -> _Opened:
        model = TrainedModel(self.path, embeddings=self.embeddings, resume=self.resume)
        if self.fingerprint not in ("", model.fingerprint):
            raise MmstreamError(
                f"the model {self.path} has the fingerprint {model.fingerprint} here, not {self.fingerprint} as where "
                "the job was started: it was changed, or other versions are installed"
            )
        return _Opened(model, self.follow)


class _Opened:
    """A model in a process, and the one that takes over.

    Args:
        model: that was opened.
        follow: folder of models; "" for none.
    """

    def __init__(self, model: TrainedModel, follow: str) -> None:
        self._model = model
        self._successors = Successors(follow, model) if follow else None
        self._looked = -_LOOK_SECONDS
        self._lock = threading.Lock()

    def current(self) -> TrainedModel:
        """The model in use; looks for a newer one now and then, while other threads go on with the old one."""
        if self._successors and self._lock.acquire(blocking=False):
            try:
                if time.monotonic() - self._looked >= _LOOK_SECONDS:
                    self._looked = time.monotonic()
                    self._model = self._successors.look() or self._model
            finally:
                self._lock.release()
        return self._model


@dataclasses.dataclass
class LabelParts(beam.PTransform):
    """(part, its items, packed) → committed label files; gives each part's counts.

    Attributes:
        model: that labels.
        sink: name of the sink component.
        sink_options: its parameters.
        input_number: of the input in job.json.
        media: where media may lie.
        output: directory of the output.
        parts: P.
        run: the run's start.
        prune: remove what the output holds of records that are not in the input.
        threads: that decode and predict, in each worker process.
        stall_seconds: for so long work on one record may take, where it is tried alone (`mmstream.unfinished`).
    """

    model: SharedModel
    sink: str
    sink_options: Mapping[str, Any]
    input_number: int
    media: Media
    output: str
    parts: int
    run: str
    prune: bool
    threads: int
    stall_seconds: float

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Label two parts at a time."""
        return grouped | beam.ParDo(WorkAhead(self._label, self.threads))

    def _label(self, part: int, items: list[Record | DeadLetter], workers: Workers) -> list[Any]:
        with begun(self.output, part, items, LabelTrial(self.model, self.media), self.stall_seconds):
            return self._label_part(part, items, workers)

    def _label_part(self, part: int, items: list[Record | DeadLetter], workers: Workers) -> list[Any]:
        started = time.monotonic()
        model = self.model()
        draft = Draft.of(
            part,
            items,
            input_number=self.input_number,
            model=model,
            media=self.media,
            sink=components.build("sink", self.sink, self.sink_options),
            output=self.output,
            parts_count=self.parts,
            run=self.run,
            workers=workers,
        )
        (counts,) = label_drafts([draft], model=model, media=self.media, prune=self.prune, workers=workers)
        seconds = round(time.monotonic() - started, 3)
        books.note(self.output, self.run, parts.part_name(part), **counts, seconds=seconds, **smaller_batch(model))
        return [counts]


def smaller_batch(model: TrainedModel) -> dict[str, int]:
    """What a part's note says of the batch size where memory has run out; {} where it has not."""
    return {"smaller_batch": model.batch} if model.batch != model.about["batch"] else {}


@dataclasses.dataclass(frozen=True)
class LabelTrial:
    """Labels records to find out which kills its process (`mmstream.children`), and throws the labels away.

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


def _standing(before: Labelled, ids: Set[str], still_there: StillThere) -> dict[str, str]:
    """Where each of these ids stands that a part holds of a row that was not read again, though the input has it."""
    held = [(row["id"], row["_origin"]) for row in before.rows]
    held += [(letter.id, letter.origin) for letter in before.letters if letter.id and letter.error != DUPLICATE]
    return {key: origin for key, origin in held if key in ids and still_there(origin, key)}


def _stays(
    letter: DeadLetter,
    ids: Set[str],
    read: Set[tuple[str, str]],
    input_number: int,
    still_there: StillThere,
) -> bool:
    """Whether a letter is of a row that was not read again: of another input, or of a place where nobody has looked."""
    if letter.id:
        there = letter.id not in ids or still_there(letter.origin, letter.id)
        return there and (letter.id, letter.origin) not in read
    return letter.input != input_number or still_there(letter.origin, "")
