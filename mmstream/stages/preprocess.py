"""The second pass of `mmstream preprocess`: turn each part's records into examples."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import apache_beam as beam
from apache_beam.utils.shared import Shared

from mmstream.config.schema import Config
from mmstream.inputs.listing import as_json
from mmstream.inputs.splits import NO_KEYS
from mmstream.interfaces import PassedOver
from mmstream.outputs import lock, near_keys, ownership, parts, reconciliation, run_notes
from mmstream.outputs.example_parts import Candidate, examples_of, order_of, preprocess_part
from mmstream.outputs.near_report import near_report
from mmstream.outputs.transform import field_versions, fingerprint_of
from mmstream.preprocessing.golden import write_golden
from mmstream.preprocessing.hashing import Hashing
from mmstream.preprocessing.preprocessor import READ, Preprocessor
from mmstream.preprocessing.settings import settings_of
from mmstream.records.media import Media
from mmstream.records.record import SPLITS, DeadLetter, Record
from mmstream.runtime.concurrency import ThreadPool
from mmstream.stages.ahead import WorkAhead
from mmstream.stages.analyse import ANALYSE, FitTransform, cheap_preprocessor, columns_of_part
from mmstream.stages.near import KeepTogether
from mmstream.stages.reading import RouteToParts
from mmstream.storage import files
from mmstream.storage.json_files import write_json
from mmstream.training.made_with import made_with


def conclude(
    config: Config,
    output: str,
    run: str,
    plan: parts.Plan,
    seconds: float,
    *,
    holder: str = "",
    passed_over: Sequence[PassedOver] = (),
    reads_source: bool = False,
) -> dict[str, Any]:
    """Reconcile a run and write preprocess.json; returns its content.

    Args:
        config: the config of the run.
        output: directory of the output.
        run: the run's start.
        plan: the output's plan of parts.
        seconds: how long the run took.
        holder: the run that must hold the output (`mmstream.outputs.lock`); "" if it is not held.
        passed_over: what was not read of the input.
        reads_source: whether the records came from the config's source.

    Raises:
        MmstreamError: the counts do not add up, or another job has taken the output over.
    """
    reconciled = reconciliation.reconcile(output, run, plan, done="examples", holder=holder)
    near = near_report(output, plan.parts, Hashing.of(config.fields), config.split)
    about = {
        "read": reconciled.read,
        "examples": reconciled.done,
        "dead_lettered": reconciled.dead_lettered,
        "skipped": reconciled.skipped,
        **({"passed_over": as_json(passed_over)} if passed_over else {}),
        "splits": {name: reconciled.held[name] for name in SPLITS},
        **near,
        "dead_letters": reconciled.committed_letters,
        "fingerprint": fingerprint_of(output),
        "plugins": field_versions(config),
        "fields": settings_of(config.fields),
        "made_with": made_with(config, reads_source=reads_source),
        "transform": ownership.transform_files(output),
        "seconds": round(seconds, 3),
    }
    lock.check(output, holder)
    write_json(files.join(output, "preprocess.json"), about)
    return about


@dataclasses.dataclass(kw_only=True)
class PreprocessRecords(beam.PTransform):
    """Records and dead letters → everything that training needs, in the output; emits None once all is written.

    Attributes:
        config: the config.
        media: where media may lie.
        output: directory of the output.
        run: the run's start, known now or a side input.
        holder: the run that must hold the output (`mmstream.outputs.lock`); "" if it is not held.
        parts: the number of parts.
        threads: number of threads that decode in each worker process; None for one per core.
        scratch: folder that all workers can reach, for temporary files.
    """

    config: Config
    media: Media
    output: str
    run: str | beam.pvalue.AsSingleton
    holder: str
    parts: int
    threads: int | None
    scratch: str

    def __post_init__(self) -> None:
        super().__init__()
        self._shared = Shared()

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Two passes over the parts, two at a time: analyse the cheap columns, then apply; then the golden records.

        With `split.near`, a pass before these finds the near-equal records.
        """
        grouped = items | RouteToParts(self.parts)
        together = grouped | KeepTogether(self.config, self.media, self.output, self.holder, self.threads)
        fitted = grouped | FitTransform(self.config, self.output, self.scratch, self.holder, together)
        ready = fitted | "Run" >> beam.Map(lambda _, run, keys: run, self.run, beam.pvalue.AsSingleton(together))
        run = beam.pvalue.AsSingleton(ready)  # once there is all that the parts need
        work = WorkAhead(self._preprocess, self.threads)
        candidates = grouped | "PreprocessParts" >> beam.ParDo(work, run)
        chosen = candidates | beam.combiners.Top.Smallest(self.config.golden, key=order_of)
        return chosen | "WriteGolden" >> beam.Map(self._write_golden)

    def _preprocess(self, part: int, items: list[Record | DeadLetter], pool: ThreadPool, run: str) -> list[Candidate]:
        """Commit the shards of a part; returns candidates for golden records."""
        started = time.monotonic()
        fitted = self._shared.acquire(lambda: _Fitted(self.config, self.output))
        counts, candidates = preprocess_part(
            part,
            items,
            preprocessor=fitted.preprocessor,
            split=self.config.split,
            fingerprint=fitted.fingerprint,
            media=self.media,
            output=self.output,
            parts_count=self.parts,
            holder=self.holder,
            golden=self.config.golden,
            pool=pool,
            hashing=fitted.hashing,
            near_keys=fitted.near_keys,
        )
        seconds = round(time.monotonic() - started, 3)
        run_notes.note(self.output, run, parts.part_name(part), **counts, seconds=seconds)
        return candidates

    def _write_golden(self, chosen: Sequence[Candidate]) -> None:
        lock.check(self.output, self.holder)
        records = [candidate.record for candidate in chosen]
        write_golden(self.output, records, Preprocessor(self.config.fields), self.media)


@dataclasses.dataclass(frozen=True)
class PreprocessTrial:
    """Preprocesses records on behalf of the supervisor (`mmstream.supervision.worker`); discards the examples.

    Attributes:
        config: has the fields and the split.
        media: where media may lie.
        output: directory of the output; until the first pass has filled its `transform/`, records are only decoded.
    """

    steps: ClassVar[tuple[str, ...]] = (ANALYSE, READ, "preprocess")

    config: Config
    media: Media
    output: str

    def prepare(self) -> None:
        """Load what the fields need."""
        _ = self._cheap
        if self._fitted.fingerprint:
            self._fitted.preprocessor.tensors([])

    def take(self, step: str, record: Record) -> None:
        """Try one step on a record: what the first pass does, reading alone, or what the second pass does."""
        preprocessor, fingerprint = self._fitted.preprocessor, self._fitted.fingerprint
        if step == ANALYSE:
            list(columns_of_part([record], self._cheap, self.config.split))
        elif step == READ:
            preprocessor.load(record, self.media)
        elif fingerprint:
            examples_of([record], preprocessor, self.config.split, self.media, fingerprint, self._fitted.hashing)
        else:
            self._fitted.hashing.hashes(preprocessor.decode(preprocessor.load(record, self.media).values))

    @functools.cached_property
    def _cheap(self) -> Preprocessor:
        return cheap_preprocessor(self.config)

    @functools.cached_property
    def _fitted(self) -> _Fitted:
        return _Fitted(self.config, self.output)


class _Fitted:
    """What the parts in a worker process share."""

    def __init__(self, config: Config, output: str) -> None:
        self.fingerprint = fingerprint_of(output) or ""
        transform = files.join(output, "transform") if self.fingerprint else ""
        self.preprocessor = Preprocessor(config.fields, transform, resume=config.resume)
        self.hashing = Hashing.of(config.fields)
        self.near_keys = near_keys.read(output) if config.split.near and self.fingerprint else NO_KEYS
