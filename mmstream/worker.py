"""What a process does for the supervisor that started it: it notes which records it works on, so that the note is there
when it dies, and passes over those that are known to kill it. Where there is no supervisor, `mmstream.unfinished` does
the same with notes in the output.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from mmstream import alive
from mmstream.records import Record

PIPE = "MMSTREAM_SUPERVISOR_PIPE"
"""The environment variable that names a file descriptor that ends when the supervisor does; only its child sees it."""

TRIAL = "trial"
ENDED = "ended"
GOT_ON = "got_on"
OUT_OF_MEMORY = 71
"""Exit code of a process that has used up its memory."""
_own_verdicts: dict[str, Verdict] = {}


class Trial(Protocol):
    """Does to a record what a job does to it, step by step, and throws the result away. Can be pickled.

    Attributes:
        steps: their names, in order.
    """

    steps: ClassVar[tuple[str, ...]]

    def prepare(self) -> None:
        """Load what all steps need."""

    def take(self, step: str, record: Record) -> None:
        """Take one step with a record."""


class Verdict(NamedTuple):
    """Why a record is not tried again.

    Attributes:
        error: "Killed", "Stalled" or "OutOfMemory".
        message: what happened.
        step: of the job's `Trial` in which it did.
    """

    error: str
    message: str
    step: str = ""


def is_supervised() -> bool:
    """Whether this process, or one that it works for, was started by a supervisor."""
    return alive.FOLDER in os.environ


def is_child() -> bool:
    """Whether a supervisor started this very process, and not one further up."""
    return PIPE in os.environ


def begin() -> None:
    """End when the parent ends, and never take more memory than it leaves of the machine's."""
    watch = functools.partial(_end_with, int(os.environ.pop(PIPE)))
    threading.Thread(target=watch, name="supervisor", daemon=True).start()
    limit_memory(total_memory() - _resident_memory(os.getppid()))


def propose(trial: Trial) -> None:
    """Leave the supervisor what it may try records with, one by one."""
    if is_supervised():
        (_folder() / TRIAL).write_bytes(pickle.dumps(trial))


@contextlib.contextmanager
def holding(records: Sequence[Record]) -> Iterator[None]:
    """While the block runs, these records are noted as being worked on by this thread.

    If the memory is used up the process ends, leaving its notes: which of all the records at hand is to blame comes out
    when each is tried alone.
    """
    if not is_supervised():
        yield
        return
    note = _folder() / f"thread-{threading.get_ident()}"
    note.write_bytes(pickle.dumps(list(records)))
    alive.hold(note)
    try:
        yield
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    finally:
        alive.hold(None)
    note.write_bytes(b"")


def got_on() -> None:
    """Say that something was finished for good: a new worker would not begin where this one did."""
    if is_supervised():
        (_folder() / GOT_ON).touch()


def ended(code: int | None = None) -> None:
    """Say that this process is about to end of itself; without it, whatever exit code there is means that it died.

    Args:
        code: with which it wants to, whatever libraries do while the interpreter ends: some crash. None if unknown.
    """
    if is_supervised():
        (_folder() / ENDED).write_text("" if code is None else str(code))


@contextlib.contextmanager
def condemned(verdicts: Mapping[str, Verdict]) -> Iterator[None]:
    """While the block runs, these verdicts, by `key_of`, count in this process, which has no supervisor."""
    _own_verdicts.update(verdicts)
    try:
        yield
    finally:
        for key in verdicts:
            _own_verdicts.pop(key, None)


def verdict_on(record: Record) -> Verdict | None:
    """Why a record is not to be tried again; None for all others."""
    verdicts = _verdicts(os.environ[alive.FOLDER]) if is_supervised() else _own_verdicts
    return verdicts.get(key_of(record)) if verdicts else None


def key_of(record: Record) -> str:
    """What tells a record from all others of a job."""
    return json.dumps([record.id, record.origin])


def total_memory() -> int:
    """Bytes of memory that this process may use at most: the machine's, or its control group's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def _resident_memory(process: int) -> int:
    """Bytes that a process keeps in memory."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def limit_memory(limit: int) -> None:
    """Let allocations fail that would take this process's own data beyond so many bytes."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _end_with(pipe: int) -> None:
    os.read(pipe, 1)
    try:
        subprocess.Popen(["rm", "-rf", os.environ[alive.FOLDER]])  # the supervisor can no longer do it
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


def _folder() -> Path:
    return Path(os.environ[alive.FOLDER])


@functools.lru_cache(maxsize=1)
def _verdicts(folder: str) -> dict[str, Verdict]:
    """Those of the supervisor so far; it writes them only between two workers."""
    path = Path(folder) / "verdicts.json"
    return {key: Verdict(*value) for key, value in json.loads(path.read_text()).items()} if path.exists() else {}
