"""A budget of memory that all threads of a process share, for decoders that may need much of it."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from typing import Final

from mmstream import alive

_GIBIBYTE = 1 << 30
_MUCH_BYTES = 64 << 20
"""After a thread has held so much, what it freed goes back to the system; its allocator may keep it otherwise."""
_ASK_SECONDS = 1.0
"""How often a thread that waits says that it is still there."""


_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of the GNU C library; others have none, and need none."""


class OverBudgetError(ValueError):
    """Something needs more memory by itself than all threads may hold together."""


class Budget:
    """Bytes that threads may hold together; who asks for more than is left waits until others have given theirs back.

    Whoever came first is served first, so that someone who needs much is not passed by for ever by those who need
    little. A thread that holds some must not ask for more before it has given them back: two that did would wait for
    each other.

    Args:
        total: bytes.
    """

    def __init__(self, total: int) -> None:
        self.total: Final = total
        self._start()
        if hasattr(os, "register_at_fork"):  # the threads that held something are not in the child
            os.register_at_fork(after_in_child=self._start)

    @property
    def held(self) -> int:
        """Bytes that threads hold now."""
        return self._held

    @contextlib.contextmanager
    def holding(self, needed: int) -> Iterator[None]:
        """While the block runs, hold so many bytes.

        Raises:
            OverBudgetError: there are not so many.
        """
        if needed > self.total:
            raise OverBudgetError(
                f"decoding it needs about {_in_words(needed)} of memory, more than the {_in_words(self.total)} that "
                "all that is decoded at once may use"
            )
        self._take(needed)
        try:
            yield
        finally:
            if needed >= _MUCH_BYTES:
                _return_to_system()
            self._give_back(needed)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._waiting: collections.deque[tuple[int, threading.Event]] = collections.deque()

    def _take(self, needed: int) -> None:
        with self._lock:
            if not self._waiting and self._held + needed <= self.total:
                self._held += needed
                return
            served = threading.Event()
            self._waiting.append((needed, served))
        try:
            while not served.wait(_ASK_SECONDS):
                alive.progress()  # if something hangs, it is what the others hold
        except BaseException:
            self._leave(needed, served)
            raise

    def _leave(self, needed: int, served: threading.Event) -> None:
        """Take back what somebody asked for who was interrupted."""
        with self._lock:
            if not served.is_set():
                self._waiting.remove((needed, served))
                needed = 0
            self._held -= needed
            self._serve()

    def _give_back(self, needed: int) -> None:
        with self._lock:
            self._held -= needed
            self._serve()

    def _serve(self) -> None:
        while self._waiting and self._held + self._waiting[0][0] <= self.total:
            needed, served = self._waiting.popleft()
            self._held += needed
            served.set()


def _return_to_system() -> None:
    """Have the allocator give up what is free; otherwise one that keeps it for each thread takes the budget twice."""
    if _trim is not None:
        _trim(0)


def _in_words(count: int) -> str:
    return f"{count / _GIBIBYTE:.2f} GiB"


DECODING: Final = Budget(_GIBIBYTE)
"""What all threads of this process may hold at once while they decode media: 1 GiB."""
