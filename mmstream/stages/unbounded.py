"""Beam's reader of an unbounded source."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from typing import Any, NamedTuple

from apache_beam.coders import Coder, PickleCoder
from apache_beam.io.unbounded_source import (
    CheckpointMark,
    UnboundedReader,
    UnboundedSource,
)
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

from mmstream.inputs.input import Input
from mmstream.interfaces import Row
from mmstream.interfaces.streams import Message, Stream

_IDLE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class _Mark(CheckpointMark):
    """Where reading a stream continues; None for its start."""

    position: int | None


@dataclasses.dataclass(frozen=True)
class Unbounded(UnboundedSource):
    """The streams of an input, or one of them."""

    job_input: Input
    name: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Identifies the stream."""
        return self.job_input.path, self.name

    def split(self, desired_num_splits: int, options: Any = None) -> list[Unbounded]:
        """One source for each stream."""
        names = self.job_input.source().streams(self.job_input.path)
        return [dataclasses.replace(self, name=name) for name in names]

    def create_reader(self, options: Any, checkpoint_mark: _Mark | None) -> _Reader:
        """A reader that continues the stream."""
        return _Reader(self, checkpoint_mark.position if checkpoint_mark else None)

    def get_checkpoint_mark_coder(self) -> Coder:
        """The coder of checkpoint marks, which are pickled."""
        return PickleCoder()


class _Open(NamedTuple):
    """A stream, and what has been read from it but not yet delivered."""

    stream: Stream
    waiting: collections.deque[Message]
    position: int | None
    since: float


class _Pool:
    """The streams of a process that no reader is using: a runner continues with a new reader each time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], _Open] = {}

    def take(self, source: Unbounded, position: int | None) -> _Open:
        """A stream that continues from a position."""
        with self._lock:
            idle = self._idle.pop(source.key, None)
        if idle and idle.position == position:
            return idle
        if idle:
            idle.stream.close()
        opened = source.job_input.source().stream(source.job_input.path, source.name, position)
        return _Open(opened, collections.deque(), position, time.monotonic())

    def give(self, source: Unbounded, idle: _Open) -> None:
        """Keep a stream for the next reader; streams that have not been used for long are closed."""
        with self._lock:
            before = list(self._idle.values())
            self._idle = {
                **{key: each for key, each in self._idle.items() if idle.since - each.since < _IDLE_SECONDS},
                source.key: idle,
            }
            reading = {id(each) for each in self._idle.values()}
        for each in before:
            if id(each) not in reading:
                each.stream.close()


_POOL = _Pool()


class _Reader(UnboundedReader):
    """A stream as Beam reads it, message by message, from one checkpoint to the next."""

    def __init__(self, source: Unbounded, position: int | None) -> None:
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
        """Where reading continues; the next reader may take the stream."""
        if self._open:
            _POOL.give(self._source, self._open._replace(position=self._position, since=time.monotonic()))
            self._open = None
        return _Mark(self._position)

    def close(self) -> None:
        if self._open:
            self._open.stream.close()
            self._open = None
