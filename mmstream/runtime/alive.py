"""Signs of life of a process that `mmstream.supervision` watches: what each thread reads, and whether it progresses.

A thread that lists or reads something notes it in its own file. The file is mapped into memory, so a sign of life costs
less than a microsecond, and loops may give one per row. Without a supervisor, nothing is done.
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
"""The environment variable that names the folder for notes."""
STEPS = "step-*"
"""The pattern of the files in that folder that hold the steps of threads."""
_SIZE = 4096
_HEAD = struct.Struct("<QQ")
_SAY_SECONDS = 0.2
"""The shortest time between two touches of the note on the records that are being processed."""
_thread = threading.local()
Item = TypeVar("Item")


class Step(NamedTuple):
    """What a thread lists or reads, as another process sees it.

    Attributes:
        signs: how many signs of life it has given.
        what: for example "reading rows.csv"; "" if it neither lists nor reads anything at the moment.
    """

    signs: int
    what: str


def folder() -> Path | None:
    """Return the folder for notes; None without a supervisor."""
    path = os.environ.get(FOLDER)
    return Path(path) if path else None


def progress() -> None:
    """Give a sign of life: this thread is making progress with what it lists, reads or processes."""
    slot: _Slot | None = getattr(_thread, "slot", None)
    if slot:
        slot.sign()
    note: Path | None = getattr(_thread, "note", None)
    if note and (now := time.monotonic()) - getattr(_thread, "said", 0.0) > _SAY_SECONDS:
        _thread.said = now
        note.touch()


def hold(note: Path | None) -> None:
    """Set the note on this thread's records, which `progress` touches from now on; None for none."""
    _thread.note = note


class step:  # noqa: N801 - it is used as a function is
    """Record, while the block runs, what this thread lists or reads; if that hangs, the supervisor ends the command.

    Args:
        what: the beginning of a message, such as "reading rows.csv".

    Raises:
        MmstreamError: memory ran out.
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
    """List or read items one by one, each within a `step`, which does not include what is done with them.

    Args:
        what: see `step`.
        items: the items to be listed or read.

    Raises:
        MmstreamError: memory ran out.
    """
    slot = _slot()
    if slot is None:
        yield from items
        return
    iterator = iter(items)
    while True:  # a `step` for each item would cost several times as much
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
        path: the path of the file, which is replaced.
    """

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self._signs = 0
        self._what = ""  # the current step; "" between steps
        self._written = ""  # what the file says, which outlasts the step

    def begin(self, what: str) -> str:
        """Record that a step begins; returns the step around it, "" for none."""
        outer, self._what = self._what, what
        if what != self._written:
            data = what.encode("utf-8", "backslashreplace")[: _SIZE - _HEAD.size - 1]
            _HEAD.pack_into(self._map, 0, self._signs, 0)
            self._map[_HEAD.size : _HEAD.size + len(data) + 1] = data + b"\0"
            self._written = what
        self.sign()
        return outer

    def end(self, outer: str) -> None:
        """Record that a step is done."""
        self._what = ""
        if outer:
            self.begin(outer)
        else:
            self.sign()

    def sign(self) -> None:
        self._signs += 1
        _HEAD.pack_into(self._map, 0, self._signs, bool(self._what))


def look(path: Path) -> Step:
    """Look up what a thread of another process lists or reads, in its file."""
    data = path.read_bytes()
    if len(data) < _SIZE:  # it is being created
        return Step(0, "")
    signs, active = _HEAD.unpack_from(data)
    what = data[_HEAD.size :].partition(b"\0")[0].decode("utf-8", "replace")
    return Step(signs, what if active else "")


def _short_of_memory(what: str) -> MmstreamError:
    return MmstreamError(f"{what} needs more memory than is available")


def _slot() -> _Slot | None:
    """Return this thread's file; None without a supervisor."""
    place = folder()
    if place is None:
        return None
    slot: _Slot | None = getattr(_thread, "slot", None)
    if slot is None or _thread.place != place:
        slot = _Slot(place / f"step-{os.getpid()}-{threading.get_ident()}")
        _thread.slot, _thread.place = slot, place
    return slot
