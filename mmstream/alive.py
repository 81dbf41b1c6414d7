"""Signs of life of a process that a supervisor watches (`mmstream.supervisor`): which thread reads what, and gets on.

A thread that lists or reads something says so in a file of its own, which is mapped into memory: a sign costs less than
a microsecond, so that loops may give one with each row. Where nobody watches, nothing is done.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

from mmstream.errors import MmstreamError

FOLDER = "MMSTREAM_SUPERVISED"
"""The environment variable that names the folder of notes."""
STEPS = "step-*"
"""The files of threads' steps in that folder."""
_SIZE = 4096
_HEAD = struct.Struct("<QQ")
_SAY_SECONDS = 0.2
"""How often a note of records in hand is touched at most."""
_thread = threading.local()
Item = TypeVar("Item")


class Step(NamedTuple):
    """What a thread is at, as another process sees it.

    Attributes:
        signs: how often it has given a sign of life.
        what: it lists or reads; "" for a thread that does neither at the moment.
    """

    signs: int
    what: str


def folder() -> Path | None:
    """The folder of notes; None for a process that no supervisor watches."""
    found = os.environ.get(FOLDER)
    return Path(found) if found else None


def progress() -> None:
    """Say that this thread still gets on with what it has in hand, or lists or reads."""
    slot: _Slot | None = getattr(_thread, "slot", None)
    if slot:
        slot.sign()
    note: Path | None = getattr(_thread, "note", None)
    if note and (now := time.monotonic()) - getattr(_thread, "said", 0.0) > _SAY_SECONDS:
        _thread.said = now
        note.touch()


def hold(note: Path | None) -> None:
    """From now on `progress` touches this note of records that the thread has in hand; None for none."""
    _thread.note = note


class step:  # noqa: N801 - it is used as a function is
    """While the block runs, this thread lists or reads something; who watches ends the command if it hangs.

    Args:
        what: "reading rows.csv", as a message begins with it.

    Raises:
        MmstreamError: the memory was used up.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._outer = ""

    def __enter__(self) -> None:
        slot = _slot()
        if slot:
            self._outer = slot.begin(self._what)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slot: _Slot | None = getattr(_thread, "slot", None)
        if slot:
            slot.end(self._outer)
        if isinstance(error, MemoryError):
            raise _short_of_memory(self._what) from error


def watched(what: str, items: Iterable[Item]) -> Iterator[Item]:
    """Items that are listed or read one by one, each taken within a `step`; what is done with them is outside it.

    Args:
        what: see `step`.
        items: that are to come.

    Raises:
        MmstreamError: the memory was used up.
    """
    slot = _slot()
    if slot is None:
        yield from items
        return
    iterator = iter(items)
    while True:  # a `step` each would look up where the file of this thread lies, at several times the cost
        outer = slot.begin(what)
        try:
            item = next(iterator)
        except StopIteration:
            return
        except MemoryError as error:
            raise _short_of_memory(what) from error
        finally:
            slot.end(outer)
        yield item


class _Slot:
    """The file of one thread.

    Args:
        path: of it; it is made anew.
    """

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self._signs = 0
        self._what = ""  # of the step at hand
        self._written = ""  # the file keeps that of the last one

    def begin(self, what: str) -> str:
        """Note a step; returns the one that it is part of, "" for none."""
        outer, self._what = self._what, what
        if what != self._written:
            data = what.encode("utf-8", "backslashreplace")[: _SIZE - _HEAD.size - 1]
            _HEAD.pack_into(self._map, 0, self._signs, 0)
            self._map[_HEAD.size : _HEAD.size + len(data) + 1] = data + b"\0"
            self._written = what
        self.sign()
        return outer

    def end(self, outer: str) -> None:
        """Note that a step is done."""
        self._what = ""
        if outer:
            self.begin(outer)
        else:
            self.sign()

    def sign(self) -> None:
        self._signs += 1
        _HEAD.pack_into(self._map, 0, self._signs, bool(self._what))


def look(path: Path) -> Step:
    """What a thread of another process is at, by its file."""
    data = path.read_bytes()
    if len(data) < _SIZE:  # it is being made
        return Step(0, "")
    signs, active = _HEAD.unpack_from(data)
    what = data[_HEAD.size :].partition(b"\0")[0].decode("utf-8", "replace")
    return Step(signs, what if active else "")


def _short_of_memory(what: str) -> MmstreamError:
    return MmstreamError(f"{what} needs more memory than there is")


def _slot() -> _Slot | None:
    """This thread's, where somebody watches."""
    place = folder()
    if place is None:
        return None
    slot: _Slot | None = getattr(_thread, "slot", None)
    if slot is None or _thread.place != place:
        slot = _Slot(place / f"step-{os.getpid()}-{threading.get_ident()}")
        _thread.slot, _thread.place = slot, place
    return slot
