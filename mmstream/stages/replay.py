"""The stage of `mmstream replay`: a part's dead letters are tried again, and what succeeds moves to its labels."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Set
from typing import Any

import apache_beam as beam

from mmstream import books, commits, components, files, parts
from mmstream.concurrency import Workers
from mmstream.errors import MmstreamError
from mmstream.interfaces import Sink
from mmstream.labelling import label_records
from mmstream.media import Media
from mmstream.records import DeadLetter, Large, Record, from_printable
from mmstream.spool import Spooled, spool_path
from mmstream.stages.ahead import WorkAhead
from mmstream.stages.label import SharedModel, label_paths, read_part, smaller_batch
from mmstream.stages.reading import dump_letters
from mmstream.trained_model import TrainedModel

REPLAYED_STAGES = ("decode", "predict", "quarantine")
"""Where a record can have failed that is tried again; the others never became a record with a row and an id."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which letters are tried.

    Attributes:
        conditions: what their columns must hold, as {"stage": "decode"}.
        error: what must be found in the class or the message of their error.
    """

    conditions: Mapping[str, str]
    error: re.Pattern[str]

    def __call__(self, letter: DeadLetter) -> bool:
        """Whether this one is."""
        return (
            letter.stage in REPLAYED_STAGES
            and all(getattr(letter, name) == value for name, value in self.conditions.items())
            and self.error.search(f"{letter.error}: {letter.message}") is not None
        )


def replay_part(
    part: int,
    *,
    model: TrainedModel,
    media: Media,
    sink: Sink,
    output: str,
    parts_count: int,
    run: str,
    wanted: Wanted,
    ids: Set[str] | None,
    workers: Workers,
) -> tuple[dict[str, int], list[str]]:
    """Try the dead letters of a part again, and commit what has become of them.

    Args:
        part: its number.
        model: that labelled.
        media: where media may lie.
        sink: of the labels.
        output: directory of the output.
        parts_count: P.
        run: the run's start.
        wanted: which letters are tried.
        ids: of the records that are tried; None for all.
        workers: that decode and predict.

    Returns:
        {"tried", "labelled", "dead_lettered", "not_wanted", "row_not_kept"}, the last those that hold no value of their
        row that was too large; and the ids that were tried.

    Raises:
        MmstreamError: the part is not whole.
    """
    commits.finish(output, part, run)
    before = read_part(output, part, sink, model.schema)
    commit = before.commit
    if commit is None or before.damaged:
        raise MmstreamError(
            f"{parts.part_name(part)} of {output} is not whole; run `mmstream label` again, which mends it"
        )
    if commit.fingerprint != model.fingerprint:
        name = parts.part_name(part)
        raise MmstreamError(f"{name} of {output} is of another model; run `mmstream label --relabel` to its end first")
    chosen = {
        place: letter
        for place, letter in enumerate(before.letters)
        if wanted(letter) and (ids is None or letter.id in ids)
    }
    records: dict[int, Record] = {}
    for place, letter in chosen.items():
        columns = restored(letter.row, model.preprocessor.reads(), files.join(output, "spool"))
        if columns is not None:
            records[place] = Record(letter.id, letter.origin, columns)
    results = label_records(records.values(), model, media, workers=workers)
    rows, letters, count = list(before.rows), dict(enumerate(before.letters)), 0
    for place, (_, result) in zip(records, results, strict=True):
        if isinstance(result, DeadLetter):
            letters[place] = dataclasses.replace(result, row=letters[place].row)
        else:
            rows.append(result)
            del letters[place]
            count += 1
    rows.sort(key=lambda row: row["id"])
    rows_path, letters_path = label_paths(part, sink)
    commits.commit_part(
        output,
        part,
        commit.fingerprint,
        {"labelled": len(rows), "dead_lettered": len(letters)},
        {rows_path: sink.dumps(rows, model.schema), letters_path: dump_letters(letters.values())},
        parts=parts_count,
        onto=commit,
        run=run,
    )
    return {
        "tried": len(records),
        "labelled": count,
        "dead_lettered": len(records) - count,
        "not_wanted": len(before.letters) - len(chosen),
        "row_not_kept": len(chosen) - len(records),
    }, [record.id for record in records.values()]


def restored(row: Any, reads: Mapping[str, bool], spool: str) -> dict[str, Any] | None:
    """A row as it was before a dead letter took it in; None where a value that is read was too large to be kept.

    Args:
        row: of a letter.
        reads: the columns that are read, and whether as media.
        spool: the folder of media that stood in rows.
    """
    columns = from_printable(row)
    for name, media in reads.items():
        value = columns.get(name)
        if isinstance(value, Large):
            path = spool_path(spool, value.sha256)
            if not files.exists(path):
                return None
            columns[name] = Spooled(path, value.sha256, value.size, is_text=not media)
        elif _lacks_something(value):
            return None
    return dict(columns)


def _lacks_something(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_lacks_something, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Large)


def attempts(output: str, run: str = "") -> Counter[str]:
    """How often each dead letter has been replayed, by its id; in a run, or in all of them."""
    found: Counter[str] = Counter()
    for _, values in books.notes(output, run):
        found.update(values.get("tried_ids", ()))
    return found


@dataclasses.dataclass
class ReplayParts(beam.PTransform):
    """(part, items of an input, packed) → the same parts with their dead letters tried again.

    Attributes:
        model: that labelled.
        sink: name of the sink component.
        sink_options: its parameters.
        media: where media may lie.
        output: directory of the output.
        parts: P.
        run: the run's start.
        wanted: which letters are tried.
        of_input: only letters of the records among the items are tried; else of all, and no items are needed.
        threads: that decode and predict, in each worker process.
    """

    model: SharedModel
    sink: str
    sink_options: Mapping[str, Any]
    media: Media
    output: str
    parts: int
    run: str
    wanted: Wanted
    of_input: bool
    threads: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Replay two parts at a time."""
        return grouped | beam.ParDo(WorkAhead(self._replay, self.threads))

    def _replay(self, part: int, items: list[Any], workers: Workers) -> list[dict[str, int]]:
        model = self.model()
        counts, tried = replay_part(
            part,
            model=model,
            media=self.media,
            sink=components.build("sink", self.sink, self.sink_options),
            output=self.output,
            parts_count=self.parts,
            run=self.run,
            wanted=self.wanted,
            ids={item.id for item in items} if self.of_input else None,
            workers=workers,
        )
        books.note(self.output, self.run, parts.part_name(part), **counts, tried_ids=tried, **smaller_batch(model))
        return [counts]
