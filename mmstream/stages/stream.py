"""The stages of `mmstream label --streaming`: what arrives in an input that has no end, labelled part by part."""

from __future__ import annotations

import collections
import dataclasses
import logging
import pickle
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.coders import Coder, PickleCoder
from apache_beam.io.unbounded_source import (
    CheckpointMark,
    ReadFromUnboundedSource,
    UnboundedReader,
    UnboundedSource,
)
from apache_beam.io.watch import PollResult, Watch
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

from mmstream import components, files, lock, plugins
from mmstream.concurrency import Workers
from mmstream.errors import MmstreamError, describe
from mmstream.interfaces import Row, Split
from mmstream.records import DeadLetter, Record
from mmstream.stages.arrivals import CANNOT_READ, is_read, listing, splits_of
from mmstream.stages.label import Draft, LabelRow, LabelTrial, SharedModel, label_drafts
from mmstream.stages.reading import Input, every_part, item_of, part_of_item
from mmstream.streams import Message, Publisher, Stream
from mmstream.unfinished import begun

BATCH_RECORDS = 256
"""So many records of a part are labelled without waiting for more."""
_POLL_SECONDS = 0.5
_BUNDLE_SECONDS = 0.25
"""So long one stream is read before a worker turns to the next."""
_IDLE_SECONDS = 60.0
_LOCKS = tuple(threading.Lock() for _ in range(1024))
"""One thread of a process at a time brings a part up to date: one that a runner has given up may still be at it."""

Arrived = tuple[str, bytes, int, float]
"""A file: what the origins of its rows begin with, its path (as bytes: it need not be UTF-8), size and time."""


@dataclasses.dataclass
class ReadStream(beam.PTransform):
    """Pipeline → records and dead letters of an input that has no end, as they arrive.

    Of a source that has streams each one is read from where the runner's last checkpoint left it. In a folder, or what
    a pattern matches, each file is read when it has come or changed.

    Attributes:
        job_input: what to read.
        reads: the columns that are read, and whether as media.
        output: directory of the output, in which media are spooled that stand in rows.
        every: seconds between two looks at the files; one that was written to later than that is not complete yet.
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
            source = _Unbounded(self.job_input)
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

    def _splits(self, found: tuple[str, Arrived]) -> Iterator[Split | Row]:
        origin, path, _, _ = found[1]
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
    """Looks at the files of an input; gives those that nobody has written to for a while."""

    job_input: Input
    seconds: float

    def __call__(self, path: str) -> PollResult[Arrived]:
        now, source = time.time(), self.job_input.source()
        found = []
        try:
            for origin, about in listing(path):
                is_settled = not now - self.seconds < about.modified <= now  # another clock may be ahead
                if is_read(about.path, path, source) and is_settled:
                    found.append((origin, about.path.encode("utf-8", "surrogateescape"), about.size, about.modified))
        except OSError as error:  # a store that does not answer for a moment
            logging.getLogger(__name__).warning("cannot look at %s: %s; trying again", path, describe(error))
        return PollResult(tuple(TimestampedValue(each, Timestamp.of(now)) for each in found), Timestamp.of(now))


@dataclasses.dataclass(frozen=True)
class _Mark(CheckpointMark):
    """Where a stream is read on; None at its start."""

    position: int | None


@dataclasses.dataclass(frozen=True)
class _Unbounded(UnboundedSource):
    """The streams of an input, or one of them."""

    job_input: Input
    name: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Names the stream."""
        return self.job_input.path, self.name

    def split(self, desired_num_splits: int, options: Any = None) -> list[_Unbounded]:
        """One for each stream."""
        names = self.job_input.source().streams(self.job_input.path)
        return [dataclasses.replace(self, name=name) for name in names]

    def create_reader(self, options: Any, checkpoint_mark: _Mark | None) -> _Reader:
        """Reads the stream on."""
        return _Reader(self, checkpoint_mark.position if checkpoint_mark else None)

    def get_checkpoint_mark_coder(self) -> Coder:
        return PickleCoder()


class _Open(NamedTuple):
    """A stream, and what has been read of it and not been given yet."""

    stream: Stream
    waiting: collections.deque[Message]
    position: int | None
    since: float


class _Pool:
    """The streams of a process that nobody reads just now: a runner reads on with another reader each time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], _Open] = {}

    def take(self, source: _Unbounded, position: int | None) -> _Open:
        """A stream that goes on at a position."""
        with self._lock:
            found = self._idle.pop(source.key, None)
        if found and found.position == position:
            return found
        if found:
            found.stream.close()
        opened = source.job_input.source().stream(source.job_input.path, source.name, position)
        return _Open(opened, collections.deque(), position, time.monotonic())

    def give(self, source: _Unbounded, idle: _Open) -> None:
        """Let the next reader have a stream; those that nobody has wanted for long are closed."""
        with self._lock:
            before = list(self._idle.values())
            self._idle = {
                **{key: each for key, each in self._idle.items() if idle.since - each.since < _IDLE_SECONDS},
                source.key: idle,
            }
            kept = {id(each) for each in self._idle.values()}
        for each in before:
            if id(each) not in kept:
                each.stream.close()


_POOL = _Pool()


class _Reader(UnboundedReader):
    """A stream as Beam reads it, message by message, from one checkpoint to the next."""

    def __init__(self, source: _Unbounded, position: int | None) -> None:
        self._source = source
        self._position = position
        self._open: _Open | None = None
        self._current: Message | None = None
        self._watermark = MIN_TIMESTAMP

    def start(self) -> bool:
        return self.advance()

    def advance(self) -> bool:
        if self._open is None:
            self._open = _POOL.take(self._source, self._position)
        stream, waiting = self._open.stream, self._open.waiting
        if not waiting:
            waiting.extend(stream.read())
            first = min((message.time for message in waiting), default=float("inf"))
            self._watermark = Timestamp.of(min(first, stream.watermark()))
        if not waiting:
            return False
        self._current = waiting.popleft()
        self._position = self._current.position
        return True

    def get_current(self) -> Row:
        assert self._current is not None  # Beam asks for what `advance` has promised
        return self._current.row

    def get_current_timestamp(self) -> Timestamp:
        return Timestamp.of(self._current.time) if self._current else MIN_TIMESTAMP

    def get_watermark(self) -> Timestamp:
        return self._watermark

    def get_checkpoint_mark(self) -> _Mark:
        """Where reading goes on; whoever does it may have the stream."""
        if self._open:
            _POOL.give(self._source, self._open._replace(position=self._position, since=time.monotonic()))
            self._open = None
        return _Mark(self._position)

    def close(self) -> None:
        if self._open:
            self._open.stream.close()
            self._open = None


@dataclasses.dataclass
class LabelStream(beam.PTransform):
    """Records and dead letters → the parts that they belong to, brought up to date batch by batch.

    A runner that goes on from a checkpoint delivers records again, and in other batches. What a part holds already of
    the same origin, digest and fingerprint is left alone, so that nothing is labelled or committed twice.

    Attributes:
        model: that labels.
        sink: name of the sink component.
        sink_options: its parameters.
        job_input: where the records come from.
        output: directory of the output.
        run: the run's start.
        parts: P.
        threads: that decode and predict, in each worker.
        latency: seconds that a record waits at most for others of its part.
        stall_seconds: for so long work on one record may take, where it is tried alone (`mmstream.unfinished`).
        publish: URI of where labels are sent, too; "" for nowhere.
    """

    model: SharedModel
    sink: str
    sink_options: Mapping[str, Any]
    job_input: Input
    output: str
    run: str
    parts: int
    threads: int
    latency: float
    stall_seconds: float
    publish: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Key by part, group, label; every part is committed once, empty ones too."""
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
    """(part, some of its items, pickled) → nothing; they are committed."""

    def __init__(self, about: LabelStream) -> None:
        self._about = about

    def setup(self) -> None:
        self._about.model().prepare()  # before records wait for it
        self._workers = Workers(self._about.threads)
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
                workers=self._workers,
                still_there=stands,
                of_any_model=bool(about.model.follow),
            )
            if draft.damaged:
                what = "; ".join(f"{path} {problem}" for path, problem in draft.damaged.items())
                raise MmstreamError(f"{what}. If this stays, stop and run `mmstream label`, which makes the part anew")
            label_drafts(
                [draft],
                model=model,
                media=media,
                prune=False,
                workers=self._workers,
                publish=self._publish,
            )

    def _check_part(self, part: int, items: Iterable[Record | DeadLetter]) -> None:
        """A runner's state may be older than the parts.

        Raises:
            MmstreamError: it is.
        """
        if any(part_of_item(item, self._about.parts) != part for item in items):
            raise MmstreamError(
                f"{self._about.output} was cut into other parts after this savepoint; start without it: what the "
                "output holds is passed over"
            )

    def _publish(self, results: Iterable[LabelRow | DeadLetter]) -> None:
        if self._publisher:
            lock.check(self._about.output, self._about.run)
            letters = [result for result in results if isinstance(result, DeadLetter)]
            rows = [result for result in results if not isinstance(result, DeadLetter)]
            self._publisher.publish(rows, letters)

    def teardown(self) -> None:
        self._workers.close()
        if self._publisher:
            self._publisher.close()


def _latest(items: Iterable[Record | DeadLetter]) -> list[Record | DeadLetter]:
    """Of what came from one place several times, as a table was read again or a runner repeats itself, the last."""
    return list({item.origin: item for item in items}.values())


class _Places:
    """Tells whether a place of an input still holds what a part has of it, when others of its rows have arrived.

    Args:
        job_input: the input.
        items: what has arrived, whose places hold this now.
    """

    def __init__(self, job_input: Input, items: Iterable[Record | DeadLetter]) -> None:
        self._input = job_input
        self._source = job_input.source()
        self._given = {item.origin for item in items}

    def __call__(self, origin: str, key: str) -> bool:
        if origin in self._given:
            return False
        if not key:  # no record; nobody knows which of the records that have come since stood there
            return True
        if self._source.scheme:
            return origin.startswith(f"{files.name(self._input.path)}/")
        ends = [place for place, letter in enumerate(origin) if letter in ":/"] + [len(origin)]
        file = next((origin[:end] for end in ends if files.has_suffix(origin[:end], self._source.suffixes)), origin)
        return files.exists(files.join(files.base(self._input.path), file))


def publisher_for(uri: str) -> Publisher:
    """What sends labels to a place, by the scheme of its URI.

    Raises:
        MmstreamError: no publisher does.
    """
    scheme = files.scheme(uri)
    for name in plugins.names("publisher"):
        publisher: Publisher = components.build("publisher", name, {})
        if publisher.scheme == scheme:
            return publisher
    raise MmstreamError(f"nothing publishes to {uri}; it is a URI as kafka://broker:9092/topic")
