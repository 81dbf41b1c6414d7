"""Threads: a pool that gives its results in order and does not read far ahead, and their number in TensorFlow."""

from __future__ import annotations

import collections
import contextlib
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
_TENSORFLOW_THREADS = "TF_NUM_INTRAOP_THREADS"


@contextlib.contextmanager
def one_tensorflow_thread() -> Iterator[None]:
    """Let TensorFlow, if it starts in the block, compute each operation in one thread: a job's threads share the cores.

    A setting of the user's stays. TensorFlow reads it once, when it starts; other processes are unaffected.
    """
    own = _TENSORFLOW_THREADS not in os.environ
    os.environ.setdefault(_TENSORFLOW_THREADS, "1")
    try:
        yield
    finally:
        if own:
            del os.environ[_TENSORFLOW_THREADS]


class ThreadPool:
    """Threads that call a function with each item of a series.

    Several callers may submit series, which are served in order: the next one begins once all items of the previous one
    have been started. So no thread idles while there are items.

    Args:
        threads: the number of threads; None for one per core.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="batch")
        self._turn = threading.Lock()

    def in_order(self, function: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
        """`map`, at most two items per thread ahead of the results. A caller that stops early must close the generator.

        >>> with ThreadPool(2) as pool:
        ...     list(pool.in_order(abs, [-1, 2, -3]))
        [1, 2, 3]
        """
        pending: collections.deque[Future[R]] = collections.deque()
        remaining = self._in_turn(items)
        try:
            while True:
                for item in islice(remaining, 2 * self._threads - len(pending)):
                    pending.append(self._executor.submit(function, item))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            remaining.close()
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the threads once they have finished what they started."""
        self._executor.shutdown(cancel_futures=True)

    def __enter__(self) -> ThreadPool:
        """Return the pool itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the pool."""
        self.close()

    def _in_turn(self, items: Iterable[T]) -> Generator[T, None, None]:
        """Yield the items; no other series is served until they are exhausted."""
        with self._turn:
            yield from items


def at_once(read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map` for reading many small files: several at a time, as remote stores are slow to answer."""
    with ThreadPool(_FILES_AT_ONCE) as pool:
        yield from pool.in_order(read, items)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last one may be shorter.

    >>> list(batched("abc", 2))
    [['a', 'b'], ['c']]
    """
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
