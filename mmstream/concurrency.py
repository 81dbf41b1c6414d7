"""Doing things with threads in order, without reading far ahead."""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_FILES_AT_ONCE = 32


class Workers:
    """Threads that do something with each item of a series.

    Several series may be given by different threads: whoever came first is served first, and the next one begins when
    no item of the first is left to begin with. So the threads never idle, and a series is not held up by another.

    Args:
        threads: how many; None for one a core.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="batch")
        self._turn = threading.Lock()

    def in_order(self, function: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
        """`map`; at most two items a thread are taken before their results are. Who stops halfway must close it.

        >>> with Workers(2) as workers:
        ...     list(workers.in_order(abs, [-1, 2, -3]))
        [1, 2, 3]
        """
        pending: collections.deque[Future[R]] = collections.deque()
        remaining = self._in_turn(items)
        try:
            while True:
                for item in islice(remaining, 2 * self._threads - len(pending)):
                    pending.append(self._pool.submit(function, item))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            remaining.close()
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the threads, after what they have begun."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Workers:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close."""
        self.close()

    def _in_turn(self, items: Iterable[T]) -> Generator[T, None, None]:
        """Hold the turn until there are no more items."""
        with self._turn:
            yield from items


def at_once(read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map`, for what reads many small files: some at a time, as stores answer late."""
    with Workers(_FILES_AT_ONCE) as workers:
        yield from workers.in_order(read, items)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one possibly shorter.

    >>> list(batched("abc", 2))
    [['a', 'b'], ['c']]
    """
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
