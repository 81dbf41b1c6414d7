"""A memory budget shared by all threads of a process, for decoders that may need a lot of memory."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from typing import Final

from mmstream.runtime import alive

_GIBIBYTE = 1 << 30
_MUCH_BYTES = 64 << 20
"""After holding this much, a thread returns freed memory to the system, as its allocator might keep it otherwise."""
_ASK_SECONDS = 1.0
"""How often a waiting thread gives a sign of life."""


_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""A function of the GNU C library; other libraries neither have nor need it."""


class OverBudgetError(ValueError):
    """A single request for more memory than all threads may hold together."""


class Budget:
    """A number of bytes that threads share; a thread that needs more than is left waits until others release theirs.

    Requests are served in order, so that small ones cannot starve a large one. A thread must release what it holds
    before it requests more; otherwise two threads could wait for each other.

    Args:
        total: the number of bytes.
    """

    def __init__(self, total: int) -> None:
        self.total: Final = total
        self._start()
        if hasattr(os, "register_at_fork"):  # threads that held memory do not exist in the child
            os.register_at_fork(after_in_child=self._start)

    @property
    def held(self) -> int:
        """The number of bytes that threads hold now."""
        return self._held

    @contextlib.contextmanager
    def holding(self, needed: int) -> Iterator[None]:
        """Hold this many bytes while the block runs.

        Raises:
            OverBudgetError: they are more than the whole budget.
        """
        if needed > self.total:
            raise OverBudgetError(
                f"decoding needs about {_in_words(needed)} of memory, more than the {_in_words(self.total)} "
                "allowed for everything that is decoded at once"
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
                alive.progress()  # if any threads hang, it is those that hold memory, not this one
        except BaseException:
            self._leave(needed, served)
            raise

    def _leave(self, needed: int, served: threading.Event) -> None:
        """Withdraw the request of a thread that was interrupted."""
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
    """Make the allocator return free memory; if it kept that for each thread, the budget could be used twice over."""
    if _trim is not None:
        _trim(0)


def _in_words(count: int) -> str:
    return f"{count / _GIBIBYTE:.2f} GiB"


DECODING: Final = Budget(_GIBIBYTE)
"""The budget that all threads of this process share while they decode media: 1 GiB."""
