"""The stage of `mmstream label`: labels the records of one part, and commits the label rows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import apache_beam as beam

from mmstream.outputs import parts, run_notes
from mmstream.outputs.drafts import Draft, label_drafts
from mmstream.outputs.unfinished import begun
from mmstream.plugins import components
from mmstream.preprocessing.lookups import Lookups
from mmstream.preprocessing.preprocessor import READ
from mmstream.records.media import Media
from mmstream.records.record import DeadLetter, Record
from mmstream.runtime.concurrency import ThreadPool
from mmstream.stages.ahead import WorkAhead
from mmstream.stages.shared_model import SharedModel, smaller_batch
from mmstream.trained_model.labelling import label_batch


@dataclasses.dataclass(kw_only=True)
class LabelParts(beam.PTransform):
    """(part, its items, packed) → committed label files; returns each part's counts.

    Attributes:
        model: the model that labels.
        sink: name of the sink component.
        sink_options: its parameters.
        input_number: number of the input in job.json.
        media: where media may lie.
        output: directory of the output.
        parts: the number of parts.
        run: the run's start.
        prune: remove rows and dead letters of records that are not in the input.
        threads: number of threads that decode and predict in each worker process; None for one per core.
        stall_seconds: how long work on a record may take when it is tried alone (`mmstream.outputs.unfinished`).
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
    threads: int | None
    stall_seconds: float

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        """Label two parts at a time."""
        return grouped | beam.ParDo(WorkAhead(self._label, self.threads), self.run)

    def _label(self, part: int, items: list[Record | DeadLetter], pool: ThreadPool, run: str) -> list[Any]:
        with begun(self.output, part, items, LabelTrial(self.model, self.media), self.stall_seconds):
            return self._label_part(part, items, pool, run)

    def _label_part(self, part: int, items: list[Record | DeadLetter], pool: ThreadPool, run: str) -> list[Any]:
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
            run=run,
            pool=pool,
        )
        lookups = Lookups()
        (counts,) = label_drafts([draft], model=model, media=self.media, prune=self.prune, pool=pool, lookups=lookups)
        note = {**counts, "lookups": lookups.counts(), "seconds": round(time.monotonic() - started, 3)}
        run_notes.note(self.output, run, parts.part_name(part), **note, **smaller_batch(model))
        return [counts]


@dataclasses.dataclass(frozen=True)
class LabelTrial:
    """Labels records to find out which kills its process (`mmstream.supervision.children`); discards the labels.

    Attributes:
        model: the model that labels.
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
