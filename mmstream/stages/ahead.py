"""Works on two parts at a time, so that threads do not idle while a part is being written."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from mmstream.runtime.concurrency import ThreadPool
from mmstream.stages.reading import unpacked

_PARTS_AT_A_TIME = 2

PartWork = Callable[[int, list[Any], ThreadPool, str], list[Any]]
"""(part, its items, threads for its batches, the run's start) → outputs."""


class WorkAhead(beam.DoFn):
    """Applies `work` to (part, packed items); emits a part's outputs when it is done, at the latest when its bundle
    ends.

    Args:
        work: called for two parts at a time, from different threads.
        threads: number of threads that both share; None for one per core. The second part begins when no batch of the
            first is left to start.
    """

    def __init__(self, work: PartWork, threads: int | None) -> None:
        self._work = work
        self._threads = threads

    def setup(self) -> None:
        """Start the threads."""
        self._pool = ThreadPool(self._threads)
        self._parts = ThreadPoolExecutor(_PARTS_AT_A_TIME, thread_name_prefix="part")

    def start_bundle(self) -> None:
        """Begin with nothing pending."""
        self._pending: collections.deque[Future[list[Any]]] = collections.deque()

    def process(self, element: tuple[int, Iterable[bytes]], run: str) -> Iterator[Any]:
        """Begin this part, and finish the one before the previous one."""
        part, packed = element
        self._pending.append(self._parts.submit(self._work, part, unpacked(packed), self._pool, run))
        while len(self._pending) > _PARTS_AT_A_TIME:
            yield from self._pending.popleft().result()

    def finish_bundle(self) -> Iterator[Any]:
        """Finish every part of the bundle."""
        while self._pending:
            for output in self._pending.popleft().result():
                yield GlobalWindows.windowed_value(output)

    def teardown(self) -> None:
        """End the threads."""
        self._parts.shutdown(cancel_futures=True)
        self._pool.close()
