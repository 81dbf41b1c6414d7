"""Bringing the parts of labels up to date: keeping valid results, labelling the other records, and committing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence, Set

from mmstream.errors import MmstreamError
from mmstream.inputs.items import first_of_each
from mmstream.interfaces import Sink
from mmstream.outputs import commit_records, commits, parts
from mmstream.outputs.label_part import LabelPart, LabelRow, label_paths, read_part
from mmstream.outputs.letters import dump_letters
from mmstream.preprocessing.decoding import digests_of
from mmstream.preprocessing.lookups import Lookups
from mmstream.records.media import Media
from mmstream.records.record import DUPLICATE, DeadLetter, Record
from mmstream.runtime.concurrency import ThreadPool
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.labelling import label_records

Counts = dict[str, int | list[str]]
StillThere = Callable[[str, str], bool]
"""(origin, id) → whether the input still has a row there with this id ("" for no record) that was not read again."""


def _to_nobody(results: Sequence[LabelRow | DeadLetter]) -> None:
    """Publish nothing."""


def label_drafts(
    drafts: Sequence[Draft],
    *,
    model: TrainedModel,
    media: Media,
    prune: bool,
    pool: ThreadPool,
    publish: Callable[[Sequence[LabelRow | DeadLetter]], None] = _to_nobody,
    lookups: Lookups | None = None,
) -> list[Counts]:
    """Label the missing records of several parts together, then commit each part; returns the counts of `Draft.commit`.

    New results are published before they are committed; after a crash in between, they are published again.

    Rows and dead letters of an earlier run stay if their id, digest and fingerprint are equal. Those of records that
    are not among the items also stay unless they are pruned, as an output may have several inputs.

    Raises:
        MmstreamError: another job has taken the output over, or rows of other inputs have other columns.
    """
    todo = (record for draft in drafts for record in draft.todo)
    fresh = iter([result for _, result in label_records(todo, model, media, pool=pool, lookups=lookups)])
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
        part: the part's number.
        todo: the records that are to be labelled.
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
    _before: LabelPart
    _others: LabelPart

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
        pool: ThreadPool,
        still_there: StillThere = _nowhere,
        of_any_model: bool = False,
    ) -> Draft:
        """Compare what a part holds with the items that were read.

        Args:
            part: its number.
            items: the part's items, as read now.
            input_number: the number of the input in job.json.
            model: the model that labels.
            media: reads the media of records.
            sink: the sink for the labels.
            output: the output directory.
            parts_count: P, the number of parts.
            run: the run that must still hold the output when the part is committed; "" if none must.
            pool: the threads that compute digests of records.
            still_there: tells whether the input has a row that is not among the items; by default, the items are all
                its rows.
            of_any_model: whether to keep the labels of unchanged records, whichever model made them.
        """
        commits.finish(output, part, run)
        before = read_part(output, part, sink, model.schema)
        standing = _standing(before, {item.id for item in items}, still_there)
        records, letters = first_of_each(items, standing)
        kept, todo = still_valid(records, before, model, media, pool, of_any_model=of_any_model)
        ids = {record.id for record in records}
        read = {(letter.id, letter.origin) for letter in letters}
        others = LabelPart(
            [row for row in before.rows if row["id"] not in ids],
            [each for each in before.letters if _stays(each, ids, read, input_number, still_there)],
        )
        return cls(
            part=part,
            todo=todo,
            _model=model,
            _sink=sink,
            _output=output,
            _parts=parts_count,
            _run=run,
            _items=len(items),
            _kept=kept,
            _letters=letters,
            _before=before,
            _others=others,
        )

    @property
    def damaged(self) -> Mapping[str, str]:
        """The damaged files of the part, and what is wrong with each."""
        return self._before.damaged

    @property
    def new_letters(self) -> list[DeadLetter]:
        """The dead letters that the part does not hold yet, of rows that are not records or whose id is taken."""
        committed = {letter.to_json() for letter in self._before.letters}
        return [letter for letter in self._letters if letter.to_json() not in committed]

    def commit(self, fresh: Sequence[LabelRow | DeadLetter], *, prune: bool) -> Counts:
        """Commit the part with the results of the records in `todo`.

        Args:
            fresh: label rows and dead letters.
            prune: whether to remove results of records that are not among the items.

        Returns:
            {"read", "labelled", "dead_lettered", "skipped", "letters", "kept", "pruned", "of_another_model", "lost",
            "damaged"}: how many items had each outcome in this run ("read" to "skipped"), and how many of them are dead
            letters now ("letters"); how many other rows and letters the part keeps, has had pruned, keeps although
            another model made them, or has at least lost in damaged files; and what is wrong with these files.

        Raises:
            MmstreamError: another job has taken the output over, somebody else has changed the part in the meantime, or
                other rows have other columns.
        """
        model, sink, before = self._model, self._sink, self._before
        count_of_others = len(self._others)
        # as many of the lost results as are subtracted here may have been of this input
        lost = before.lost - max(0, self._items - (len(before) - count_of_others))
        others = LabelPart([], []) if prune else self._others
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
        """Move a damaged file to `damaged/`, if it exists; returns the end of the message."""
        if problem == commit_records.IS_NOT_THERE:
            return ""
        return f" (it is in {commit_records.put_aside(self._output, path, self._run)} now)"


def still_valid(
    records: Sequence[Record],
    before: LabelPart,
    model: TrainedModel,
    media: Media,
    pool: ThreadPool,
    *,
    of_any_model: bool,
) -> tuple[list[LabelRow | DeadLetter], list[Record]]:
    """Return still valid results of an earlier run (by any model if `of_any_model`), and the remaining records."""
    rows = {row["id"]: row for row in before.rows if of_any_model or row["_fingerprint"] == model.fingerprint}
    letters = {
        letter.id: letter
        for letter in before.letters
        if letter.fingerprint == model.fingerprint or (of_any_model and letter.fingerprint)
    }
    candidates = [record for record in records if record.id in rows or record.id in letters]
    digest_of_id = dict(digests_of(candidates, model.preprocessor, media, pool))
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


def _check_columns(others: LabelPart, model: TrainedModel, part: str) -> None:
    """Check that the rows that stay have this model's columns.

    Raises:
        MmstreamError: some have other columns.
    """
    differ = [row for row in others.rows if row.keys() != model.schema.keys()]
    if differ:
        columns = ", ".join(sorted(differ[0].keys() ^ model.schema.keys()))
        raise MmstreamError(
            f"{part} holds {len(differ)} rows whose records are not in this input; a model with other output columns "
            f"({columns}) wrote these rows. Remove them with --prune, or name another --output"
        )


def _standing(before: LabelPart, ids: Set[str], still_there: StillThere) -> dict[str, str]:
    """Return {id: origin} of ids whose row the part holds and the input still has, though it was not read again."""
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
    """Return whether a dead letter stays, because its row is of another input or at a place that was not read again."""
    if letter.id:
        there = letter.id not in ids or still_there(letter.origin, letter.id)
        return there and (letter.id, letter.origin) not in read
    return letter.input != input_number or still_there(letter.origin, "")
