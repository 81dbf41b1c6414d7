"""The stages of `mmstream label --streaming`: label the records of an unbounded input as they arrive, part by part."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.io.unbounded_source import (
    ReadFromUnboundedSource,
)
from apache_beam.io.watch import PollResult, Watch
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from mmstream.errors import MmstreamError, describe
from mmstream.inputs.arrivals import CANNOT_READ, is_read, listing, splits_of
from mmstream.inputs.input import Input
from mmstream.inputs.items import item_of
from mmstream.interfaces import Row, Split
from mmstream.interfaces.streams import Publisher
from mmstream.outputs import lock
from mmstream.outputs.drafts import Draft, label_drafts
from mmstream.outputs.label_part import LabelRow
from mmstream.outputs.parts import part_of_item
from mmstream.outputs.unfinished import begun
from mmstream.plugins import components, registry
from mmstream.records.record import DeadLetter, Record
from mmstream.runtime.concurrency import ThreadPool
from mmstream.stages.label import LabelTrial
from mmstream.stages.reading import every_part
from mmstream.stages.shared_model import SharedModel
from mmstream.stages.unbounded import Unbounded
from mmstream.storage import files, patterns
from mmstream.storage.suffixes import has_suffix

BATCH_RECORDS = 256
"""This many records of a part are labelled without waiting for more."""
_POLL_SECONDS = 0.5
_BUNDLE_SECONDS = 0.25
"""Seconds for which one stream is read before a worker turns to the next."""
_LOCKS = tuple(threading.Lock() for _ in range(1024))
"""In a process, only one thread at a time updates a part: one that the runner has given up on may still be running."""

Arrived = tuple[str, bytes, int, float]
"""A file: the beginning of its rows' origins, its path (as bytes: it need not be UTF-8), size and time."""


@dataclasses.dataclass
class ReadStream(beam.PTransform):
    """Pipeline → records and dead letters of an unbounded input, as they arrive.

    If a source has streams, each is read on from the runner's last checkpoint. In a folder or pattern, each file is
    read when it has arrived or changed.

    Attributes:
        job_input: what to read.
        reads: the columns that are read, and whether each holds media.
        output: directory of the output, in which media inside rows are spooled.
        every: seconds between two checks of the files; a file that was written to more recently is not complete yet.
    """

    job_input: Input
    reads: Mapping[str, bool]
    output: str
    every: float

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Read rows, then check them."""
        return self._rows(pipeline) | "Check" >> beam.Map(self._item)

    def _rows(self, pipeline: beam.Pipeline) -> beam.PCollection:
        if self.job_input.source().scheme:
            source = Unbounded(self.job_input)
            return pipeline | ReadFromUnboundedSource(
                source, poll_interval=_POLL_SECONDS, max_read_time_seconds=_BUNDLE_SECONDS
            )
        return (
            pipeline
            | beam.Create([self.job_input.path])
            | Watch(_Complete(self.job_input, self.every), poll_interval=self.every)
            | "Cut" >> beam.FlatMap(self._splits)
            | beam.Reshuffle()
            | "Read" >> beam.FlatMap(self._read)
        )

    def _splits(self, element: tuple[str, Arrived]) -> Iterator[Split | Row]:
        origin, path, _, _ = element[1]
        try:
            yield from splits_of(self.job_input.source(), path.decode("utf-8", "surrogateescape"), origin)
        except CANNOT_READ as error:
            yield Row(origin, None, "", error)

    def _read(self, each: Split | Row) -> Iterator[Row]:
        if isinstance(each, Row):
            yield each
            return
        try:
            yield from self.job_input.source().read(each)
        except CANNOT_READ as error:
            yield Row(each.origin, None, "", error)

    def _item(self, row: Row) -> Record | DeadLetter:
        return item_of(row, self.job_input, self.reads, files.join(self.output, "spool"))


@dataclasses.dataclass(frozen=True)
class _Complete:
    """Looks at the files of an input; emits those that nobody has written to for a while."""

    job_input: Input
    seconds: float

    def __call__(self, path: str) -> PollResult[Arrived]:
        now, source = time.time(), self.job_input.source()
        complete = []
        try:
            for origin, about in listing(path, source.roots):
                is_settled = not now - self.seconds < about.modified <= now  # another clock may be ahead
                if is_read(about.path, path, source) and is_settled:
                    complete.append((origin, about.path.encode("utf-8", "surrogateescape"), about.size, about.modified))
        except OSError as error:  # a store that does not answer for a moment
            logging.getLogger(__name__).warning("cannot access %s: %s; trying again", path, describe(error))
        return PollResult(tuple(TimestampedValue(each, Timestamp.of(now)) for each in complete), Timestamp.of(now))


@dataclasses.dataclass(kw_only=True)
class LabelStream(beam.PTransform):
    """Records and dead letters → the parts that they belong to, updated batch by batch.

    A runner that continues from a checkpoint delivers records again, and in other batches. Whatever a part already
    holds with the same origin, digest and fingerprint is left alone, so that nothing is labelled or committed twice.

    Attributes:
        model: the model that labels.
        sink: name of the sink component.
        sink_options: its parameters.
        job_input: where the records come from.
        output: directory of the output.
        run: the run's start.
        parts: the number of parts.
        threads: number of threads that decode and predict in each worker; None for one per core.
        latency: maximum number of seconds that a record waits for others of its part.
        stall_seconds: how long work on a record may take when it is tried alone (`mmstream.outputs.unfinished`).
        publish: URI that labels are also sent to; "" for none.
    """

    model: SharedModel
    sink: str
    sink_options: Mapping[str, Any]
    job_input: Input
    output: str
    run: str
    parts: int
    threads: int | None
    latency: float
    stall_seconds: float
    publish: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Key by part, group, label; every part is committed once, even if empty."""
        pair = tuple[int, bytes]
        keyed = items | "KeyByPart" >> beam.Map(self._keyed).with_output_types(pair)
        return (
            (keyed, every_part(items.pipeline, self.parts, b""))
            | beam.Flatten()
            | beam.GroupIntoBatches(BATCH_RECORDS, max_buffering_duration_secs=self.latency)
            | beam.ParDo(_LabelBatch(self))
        )

    def _keyed(self, item: Record | DeadLetter) -> tuple[int, bytes]:
        return part_of_item(item, self.parts), pickle.dumps(item, pickle.HIGHEST_PROTOCOL)


class _LabelBatch(beam.DoFn):
    """(part, some of its items, pickled) → nothing: labels the items and commits them."""

    def __init__(self, about: LabelStream) -> None:
        self._about = about

    def setup(self) -> None:
        self._about.model().prepare()  # before records wait for it
        self._pool = ThreadPool(self._about.threads)
        self._publisher = publisher_for(self._about.publish) if self._about.publish else None
        if self._publisher:
            self._publisher.open(self._about.publish)

    def process(self, element: tuple[int, Iterable[bytes]]) -> None:
        about, (part, packed) = self._about, element
        items = _latest(pickle.loads(each) for each in packed if each)
        self._check_part(part, items)
        model, media = about.model(), about.job_input.media()
        stands = _Places(about.job_input, items)
        with (
            _LOCKS[part % len(_LOCKS)],
            begun(about.output, part, items, LabelTrial(about.model, media), about.stall_seconds),
        ):
            draft = Draft.of(
                part,
                items,
                input_number=about.job_input.number,
                model=model,
                media=media,
                sink=components.build("sink", about.sink, about.sink_options),
                output=about.output,
                parts_count=about.parts,
                run=about.run,
                pool=self._pool,
                still_there=stands,
                of_any_model=bool(about.model.follow),
            )
            if draft.damaged:
                what = "; ".join(f"{path} {problem}" for path, problem in draft.damaged.items())
                raise MmstreamError(f"{what}. If this persists, stop and run `mmstream label`, which rebuilds the part")
            label_drafts(
                [draft],
                model=model,
                media=media,
                prune=False,
                pool=self._pool,
                publish=self._publish,
            )

    def _check_part(self, part: int, items: Iterable[Record | DeadLetter]) -> None:
        """Check that the runner's state is not older than the parts.

        Raises:
            MmstreamError: the state is older.
        """
        if any(part_of_item(item, self._about.parts) != part for item in items):
            raise MmstreamError(
                f"{self._about.output} was repartitioned after this savepoint; start without the savepoint: "
                "records that the output already holds are left alone"
            )

    def _publish(self, results: Iterable[LabelRow | DeadLetter]) -> None:
        if self._publisher:
            lock.check(self._about.output, self._about.run)
            letters = [result for result in results if isinstance(result, DeadLetter)]
            rows = [result for result in results if not isinstance(result, DeadLetter)]
            self._publisher.publish(rows, letters)

    def teardown(self) -> None:
        self._pool.close()
        if self._publisher:
            self._publisher.close()


def _latest(items: Iterable[Record | DeadLetter]) -> list[Record | DeadLetter]:
    """The last item of each origin: a table may have been read again, and a runner may repeat itself."""
    return list({item.origin: item for item in items}.values())


class _Places:
    """Whether a place in an input still holds the record that a part has from there, now that other rows have arrived.

    Args:
        job_input: the input.
        items: what has arrived; their places now hold these.
    """

    def __init__(self, job_input: Input, items: Iterable[Record | DeadLetter]) -> None:
        self._input = job_input
        self._source = job_input.source()
        self._given = {item.origin for item in items}

    def __call__(self, origin: str, key: str) -> bool:
        if origin in self._given:
            return False
        if not key:  # no record; whether one that has come since replaced it is unknown
            return True
        if self._source.scheme:
            return origin.startswith(f"{files.name(self._input.path)}/")
        ends = [place for place, letter in enumerate(origin) if letter in ":/"] + [len(origin)]
        file = next((origin[:end] for end in ends if has_suffix(origin[:end], self._source.suffixes)), origin)
        return files.exists(files.join(patterns.input_folder(self._input.path), file))


def publisher_for(uri: str) -> Publisher:
    """The publisher for a URI, chosen by its scheme.

    Raises:
        MmstreamError: no publisher has this scheme.
    """
    scheme = files.scheme(uri)
    for name in registry.names("publisher"):
        publisher: Publisher = components.build("publisher", name, {})
        if publisher.scheme == scheme:
            return publisher
    raise MmstreamError(f"nothing can publish to {uri}; expected a URI such as kafka://broker:9092/topic")
