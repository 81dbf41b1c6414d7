"""The stage of `mmstream replay`: tries a part's dead letters again, and moves those that succeed to its labels."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Set
from typing import Any

import apache_beam as beam

from mmstream.errors import MmstreamError
from mmstream.interfaces import Sink
from mmstream.outputs import commits, parts, run_notes
from mmstream.outputs.label_part import label_paths, read_part
from mmstream.outputs.letters import dump_letters
from mmstream.plugins import components
from mmstream.records.media import Media
from mmstream.records.record import DeadLetter, Large, Record, from_printable
from mmstream.records.spool import Spooled, spool_path
from mmstream.runtime.concurrency import ThreadPool
from mmstream.stages.ahead import WorkAhead
from mmstream.stages.shared_model import SharedModel, smaller_batch
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.labelling import label_records

REPLAYED_STAGES = ("decode", "predict", "quarantine")
"""The stages whose dead letters are tried again; those of other stages never were records with a row and an id."""


@dataclasses.dataclass(frozen=True)
class LetterFilter:
    """Chooses the dead letters that are tried.

    Attributes:
        only: what their columns must hold, such as {"stage": "decode"}.
        error: a pattern to find in the class or the message of their error.
    """

    only: Mapping[str, str]
    error: re.Pattern[str]

    def __call__(self, letter: DeadLetter) -> bool:
        """Whether this dead letter is tried."""
        return (
            letter.stage in REPLAYED_STAGES
            and all(getattr(letter, name) == value for name, value in self.only.items())
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
    letter_filter: LetterFilter,
    ids: Set[str] | None,
    pool: ThreadPool,
) -> tuple[dict[str, int], list[str]]:
    """Try the dead letters of a part again, and commit the outcomes.

    Args:
        part: number of the part.
        model: the model that labelled.
        media: where media may lie.
        sink: writes the labels.
        output: directory of the output.
        parts_count: the number of parts.
        run: the run's start.
        letter_filter: which letters are tried.
        ids: ids of the records that are tried; None for all.
        pool: threads that decode and predict.

    Returns:
        The counts "tried", "labelled", "dead_lettered", "not_wanted" and "row_not_kept" (letters that lack a value of
        their row because it was too large); and the ids that were tried.

    Raises:
        MmstreamError: the part is not whole.
    """
    commits.finish(output, part, run)
    before = read_part(output, part, sink, model.schema)
    commit = before.commit
    if commit is None or before.damaged:
        raise MmstreamError(
            f"{parts.part_name(part)} of {output} is not intact; run `mmstream label` again, which repairs it"
        )
    if commit.fingerprint != model.fingerprint:
        name = parts.part_name(part)
        raise MmstreamError(f"{name} of {output} is from another model; let `mmstream label --relabel` finish first")
    chosen = {
        place: letter
        for place, letter in enumerate(before.letters)
        if letter_filter(letter) and (ids is None or letter.id in ids)
    }
    records: dict[int, Record] = {}
    for place, letter in chosen.items():
        columns = restored(letter.row, model.preprocessor.reads(), files.join(output, "spool"))
        if columns is not None:
            records[place] = Record(letter.id, letter.origin, columns)
    results = label_records(records.values(), model, media, pool=pool)
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
    """The original row of a dead letter; None if a value that is read was too large to be kept.

    Args:
        row: the row in the letter.
        reads: the columns that are read, and whether each holds media.
        spool: folder of media that arrived inside rows.
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
    """How often each dead letter has been replayed, by its id, in one run or in all runs."""
    tries: Counter[str] = Counter()
    for _, values in run_notes.notes(output, run):
        tries.update(values.get("tried_ids", ()))
    return tries


@dataclasses.dataclass(kw_only=True)
class ReplayParts(beam.PTransform):
    """(part, items of an input, packed) → the same parts with their dead letters tried again.

    Attributes:
        model: the model that labelled.
        sink: name of the sink component.
        sink_options: its parameters.
        media: where media may lie.
        output: directory of the output.
        parts: the number of parts.
        run: the run's start.
        letter_filter: which letters are tried.
        of_input: try only letters of records that are among the items; otherwise all, and no items are needed.
        threads: number of threads that decode and predict in each worker process; None for one per core.
    """

    model: SharedModel
    sink: str
    sink_options: Mapping[str, Any]
    media: Media
    output: str
    parts: int
    run: str
    letter_filter: LetterFilter
    of_input: bool
    threads: int | None

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Replay two parts at a time."""
        return grouped | beam.ParDo(WorkAhead(self._replay, self.threads), self.run)

    def _replay(self, part: int, items: list[Any], pool: ThreadPool, run: str) -> list[dict[str, int]]:
        model = self.model()
        counts, tried = replay_part(
            part,
            model=model,
            media=self.media,
            sink=components.build("sink", self.sink, self.sink_options),
            output=self.output,
            parts_count=self.parts,
            run=run,
            letter_filter=self.letter_filter,
            ids={item.id for item in items} if self.of_input else None,
            pool=pool,
        )
        run_notes.note(self.output, run, parts.part_name(part), **counts, tried_ids=tried, **smaller_batch(model))
        return [counts]
