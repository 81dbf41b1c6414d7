"""Doing things with threads in order, without reading far ahead."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int, pool: ThreadPoolExecutor) -> Iterator[R]:
    """`map` with a pool of so many threads; at most two items a thread are taken before their results are.

    >>> with ThreadPoolExecutor(2) as pool:
    ...     list(in_order(abs, [-1, 2, -3], 2, pool))
    [1, 2, 3]
    """
    pending: collections.deque[Future[R]] = collections.deque()
    remaining = iter(items)
    try:
        while True:
            for item in islice(remaining, 2 * threads - len(pending)):
                pending.append(pool.submit(function, item))
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one possibly shorter.

    >>> list(batched("abc", 2))
    [['a', 'b'], ['c']]
    """
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
